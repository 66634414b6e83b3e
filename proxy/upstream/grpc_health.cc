#include "proxy/upstream/grpc_health.h"

namespace weir {
namespace {

constexpr std::size_t kFrameHead = 5;  // a byte that says "compressed", and four of length, the highest first

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7f) | 0x80));
  out.push_back(static_cast<char>(value));
}

// Takes one off the front.
std::optional<std::uint64_t> take_varint(std::string_view& in) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

bool skip(std::string_view& in, std::uint64_t bytes) {
  if (bytes > in.size()) return false;
  in.remove_prefix(static_cast<std::size_t>(bytes));
  return true;
}

// A field that is not the status, by its wire type.
bool skip_field(std::string_view& in, std::uint64_t wire_type) {
  switch (wire_type) {
    case 0: return take_varint(in).has_value();
    case 1: return skip(in, 8);
    case 2: {
      const auto length = take_varint(in);
      return length && skip(in, *length);
    }
    case 5: return skip(in, 4);
    default: return false;
  }
}

ServingStatus serving_status_of(std::uint64_t value) {
  return value <= static_cast<std::uint64_t>(ServingStatus::service_unknown) ? static_cast<ServingStatus>(value) : ServingStatus::other;
}

}  // namespace

std::string grpc_health_request(std::string_view service) {
  std::string message;
  if (!service.empty()) {
    constexpr char kServiceField = 1 << 3 | 2;
    message.push_back(kServiceField);
    append_varint(message, service.size());
    message += service;
  }
  std::string frame(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) frame.push_back(static_cast<char>(message.size() >> static_cast<unsigned>(shift) & 0xff));
  return frame + message;
}

std::optional<ServingStatus> parse_grpc_health_reply(std::string_view body) {
  if (body.size() < kFrameHead || body[0] != '\0') return std::nullopt;
  std::uint64_t length = 0;
  for (std::size_t i = 1; i < kFrameHead; ++i) length = length << 8 | static_cast<unsigned char>(body[i]);
  std::string_view rest = body.substr(kFrameHead);
  if (rest.size() != length) return std::nullopt;
  ServingStatus status = ServingStatus::unknown;  // what an absent field means
  while (!rest.empty()) {
    const auto tag = take_varint(rest);
    if (!tag || *tag >> 3 == 0) return std::nullopt;
    if (*tag == (1 << 3 | 0)) {
      const auto value = take_varint(rest);
      if (!value) return std::nullopt;
      status = serving_status_of(*value);
    } else if (!skip_field(rest, *tag & 7)) {
      return std::nullopt;
    }
  }
  return status;
}

}  // namespace weir
