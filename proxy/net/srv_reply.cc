#include "proxy/net/srv_reply.h"

#include <ares.h>

#include <algorithm>
#include <limits>

#include "proxy/base/text.h"

namespace weir {
namespace {

constexpr std::size_t kHeaderBytes = 12;
constexpr std::size_t kQuestionBytes = 4;  // type and class, behind the name
constexpr std::size_t kRecordBytes = 10;   // type, class, ttl and length, behind the name
constexpr std::size_t kSrvBytes = 6;       // priority, weight and port, before the target
constexpr std::uint16_t kSrv = 33;         // RFC 2782
constexpr std::uint16_t kCname = 5;        // RFC 1035
constexpr std::uint16_t kInternet = 1;

class Message {
 public:
  explicit Message(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  std::size_t at = 0;

  bool has(std::size_t count) const { return count <= bytes_.size() - at; }
  std::uint16_t two(std::size_t offset) const { return static_cast<std::uint16_t>(bytes_[offset] << 8 | bytes_[offset + 1]); }
  std::uint32_t four(std::size_t offset) const { return std::uint32_t{two(offset)} << 16 | two(offset + 2); }

  // The name at `at`, and past it. c-ares follows the compression, within bounds and without end only to an error.
  bool name(std::string& out) {
    if (at >= bytes_.size()) return false;
    char* text = nullptr;
    long length = 0;
    const int status = ares_expand_name(bytes_.data() + at, bytes_.data(), static_cast<int>(bytes_.size()), &text, &length);
    if (status != ARES_SUCCESS) return false;
    out = text;
    ares_free_string(text);
    at += static_cast<std::size_t>(length);
    return at <= bytes_.size();
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

SrvAnswer broken() {
  SrvAnswer answer;
  answer.error = "the answer is malformed";
  return answer;
}

// The record's data at `message.at`, `length` bytes.
bool read_target(Message& message, std::size_t length, SrvTarget& target) {
  if (length <= kSrvBytes) return false;
  target.priority = message.two(message.at);
  target.weight = message.two(message.at + 2);
  target.port = message.two(message.at + 4);
  message.at += kSrvBytes;
  std::string host;
  if (!message.name(host)) return false;
  target.host = ascii_lower(host);
  if (target.host.ends_with('.')) target.host.pop_back();
  return true;
}

}  // namespace

SrvAnswer read_srv_reply(std::span<const std::uint8_t> bytes) {
  if (bytes.size() < kHeaderBytes || bytes.size() > std::numeric_limits<std::uint16_t>::max()) return broken();
  Message message(bytes);
  const std::uint16_t questions = message.two(4);
  const std::uint16_t records = message.two(6);
  message.at = kHeaderBytes;
  std::string name;
  for (std::uint16_t i = 0; i < questions; ++i) {
    if (!message.name(name) || !message.has(kQuestionBytes)) return broken();
    message.at += kQuestionBytes;
  }
  SrvAnswer answer;
  std::uint32_t ttl = std::numeric_limits<std::int32_t>::max();
  for (std::uint16_t i = 0; i < records; ++i) {
    if (!message.name(name) || !message.has(kRecordBytes)) return broken();
    const std::uint16_t type = message.two(message.at);
    const std::uint16_t kind = message.two(message.at + 2);
    const std::uint32_t lives = message.four(message.at + 4);
    const std::size_t length = message.two(message.at + 8);
    message.at += kRecordBytes;
    if (!message.has(length)) return broken();
    const std::size_t next = message.at + length;
    if (kind == kInternet && (type == kSrv || type == kCname)) ttl = std::min(ttl, lives);
    if (kind == kInternet && type == kSrv) {
      SrvTarget target;
      if (!read_target(message, length, target) || message.at > next) return broken();
      answer.targets.push_back(std::move(target));
    }
    message.at = next;
  }
  answer.outcome = answer.targets.empty() ? LookupOutcome::absent : LookupOutcome::found;
  if (answer.targets.empty()) answer.error = "no SRV record in the answer";
  answer.ttl = std::chrono::seconds(answer.targets.empty() ? 0 : ttl);
  return answer;
}

}  // namespace weir
