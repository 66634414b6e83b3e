// FakeStream: a byte stream of two fixed buffers that counts the calls a kernel would see. It never
// allocates, unlike the simulated network. The codec owns it, the test keeps a pointer and moves the bytes;
// nothing is delivered but by the test. It never calls its handler by itself.
#pragma once

#include <algorithm>
#include <cstring>
#include <string_view>

#include "proxy/base/check.h"
#include "proxy/runtime/byte_stream.h"

namespace weir {

class FakeStream final : public ByteStream {
 public:
  void set_handler(ByteStreamHandler* to) override { handler = to; }
  void want_read(bool wanted) override {
    reading = wanted;
    ++wants;
  }
  void want_write(bool wanted) override {
    writing = wanted;
    ++wants;
  }
  IoResult read(std::span<std::uint8_t> into) override {
    ++reads;
    const std::size_t n = std::min(into.size(), input.size());
    if (n == 0) return {fin ? IoResult::Status::end : IoResult::Status::would_block, 0, 0};
    std::memcpy(into.data(), input.data(), n);
    input.remove_prefix(n);
    return {IoResult::Status::ok, n, 0};
  }
  IoResult write(std::span<const iovec> from) override {
    ++writes;
    if (watched != nullptr) seen_at_write = *watched;
    std::size_t n = 0;
    for (const iovec& part : from) {
      const std::size_t taken = std::min({part.iov_len, room, sizeof output - written});
      std::memcpy(output + written, part.iov_base, taken);
      written += taken;
      room -= taken;
      n += taken;
      if (taken < part.iov_len) break;
    }
    if (n == 0) return {IoResult::Status::would_block, 0, 0};
    return {IoResult::Status::ok, n, 0};
  }
  void shutdown_write() override { fin_sent = true; }
  void reset() override { was_reset = true; }
  const Address& local_address() const override { return address; }
  const Address& peer_address() const override { return address; }

  std::string_view text() const { return {output, written}; }

  Address address;
  ByteStreamHandler* handler = nullptr;
  std::string_view input;  // what read() gives; the test keeps its bytes
  char output[1024 * 1024];
  std::size_t written = 0;
  std::size_t room = SIZE_MAX;
  int reads = 0;
  int writes = 0;
  int wants = 0;
  const int* watched = nullptr;  // a count that the test wants to know as it was at the last write
  int seen_at_write = 0;
  bool reading = false;
  bool writing = false;
  bool fin = false;
  bool fin_sent = false;
  bool was_reset = false;
};

}  // namespace weir
