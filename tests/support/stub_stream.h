// A ByteStream that does nothing: for tests that only hand one on, or that need its descriptor alone. Owned by its test.
#pragma once

#include "proxy/runtime/byte_stream.h"

namespace weir::test {

class StubStream : public ByteStream {
 public:
  void set_handler(ByteStreamHandler*) override {}
  void want_read(bool) override {}
  void want_write(bool) override {}
  IoResult read(std::span<std::uint8_t>) override { return {IoResult::Status::would_block, 0, 0}; }
  IoResult write(std::span<const iovec>) override { return {IoResult::Status::would_block, 0, 0}; }
  void shutdown_write() override {}
  void reset() override {}
  const Address& local_address() const override { return address_; }
  const Address& peer_address() const override { return address_; }

 private:
  Address address_;
};

}  // namespace weir::test
