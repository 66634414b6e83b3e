#include "proxy/message/headers.h"

#include <array>
#include <cstring>

#include "proxy/base/check.h"

namespace weir {

namespace {

struct Known {
  std::string_view name;
  HeaderId id;
};

constexpr Known kKnown[] = {
    {"te", HeaderId::te},
    {"via", HeaderId::via},
    {"host", HeaderId::host},
    {"date", HeaderId::date},
    {"cookie", HeaderId::cookie},
    {"expect", HeaderId::expect},
    {"server", HeaderId::server},
    {"trailer", HeaderId::trailer},
    {"upgrade", HeaderId::upgrade},
    {"forwarded", HeaderId::forwarded},
    {"connection", HeaderId::connection},
    {"keep-alive", HeaderId::keep_alive},
    {"grpc-status", HeaderId::grpc_status},
    {"retry-after", HeaderId::retry_after},
    {"content-type", HeaderId::content_type},
    {"grpc-timeout", HeaderId::grpc_timeout},
    {"proxy-status", HeaderId::proxy_status},
    {"x-request-id", HeaderId::x_request_id},
    {"authorization", HeaderId::authorization},
    {"content-length", HeaderId::content_length},
    {"x-weir-attempt", HeaderId::x_weir_attempt},
    {"http2-settings", HeaderId::http2_settings},
    {"idempotency-key", HeaderId::idempotency_key},
    {"x-forwarded-for", HeaderId::x_forwarded_for},
    {"proxy-connection", HeaderId::proxy_connection},
    {"x-forwarded-host", HeaderId::x_forwarded_host},
    {"transfer-encoding", HeaderId::transfer_encoding},
    {"x-forwarded-proto", HeaderId::x_forwarded_proto},
    {"proxy-authenticate", HeaderId::proxy_authenticate},
    {"proxy-authorization", HeaderId::proxy_authorization},
    {"x-forwarded-client-cert", HeaderId::x_forwarded_client_cert},
};
constexpr std::size_t kShortestKnown = 2;
constexpr std::size_t kLongestKnown = 23;

constexpr std::size_t slot_of(std::string_view name) {
  return (name.size() * 14 + static_cast<unsigned char>(name.back()) - static_cast<unsigned char>(name.front())) & 63;
}

// Each known name at the place that its length, its last byte and its first give; 0xff where none is. Two names never share one.
struct BySlot {
  std::uint8_t index[64] = {};
  bool collided = false;
  constexpr BySlot() {
    for (auto& one : index) one = 0xff;
    for (std::size_t i = 0; i < std::size(kKnown); ++i) {
      auto& place = index[slot_of(kKnown[i].name)];
      collided = collided || place != 0xff;
      place = static_cast<std::uint8_t>(i);
    }
  }
};
constexpr BySlot kBySlot;
static_assert(!kBySlot.collided, "choose other factors in slot_of");

constexpr auto kNames = [] {
  std::array<std::string_view, static_cast<std::size_t>(HeaderId::removed) + 1> names{};
  for (const Known& known : kKnown) names[static_cast<std::size_t>(known.id)] = known.name;
  return names;
}();

template <class Word>
std::uint64_t word_at(const char* at) {
  Word word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

// Of equal lengths from two to 24: words that overlap where the length is no multiple.
bool same_bytes(const char* a, const char* b, std::size_t length) {
  if (length >= 8) {
    std::uint64_t differ = word_at<std::uint64_t>(a) ^ word_at<std::uint64_t>(b);
    if (length > 16) differ |= word_at<std::uint64_t>(a + 8) ^ word_at<std::uint64_t>(b + 8);
    return (differ | (word_at<std::uint64_t>(a + length - 8) ^ word_at<std::uint64_t>(b + length - 8))) == 0;
  }
  if (length >= 4) {
    return ((word_at<std::uint32_t>(a) ^ word_at<std::uint32_t>(b)) |
            (word_at<std::uint32_t>(a + length - 4) ^ word_at<std::uint32_t>(b + length - 4))) == 0;
  }
  return word_at<std::uint16_t>(a) == word_at<std::uint16_t>(b) && a[length - 1] == b[length - 1];
}

constexpr std::size_t kMaxFields = 0xffff;

}  // namespace

HeaderId header_id(std::string_view name) {
  const std::size_t length = name.size();
  if (length < kShortestKnown || length > kLongestKnown) return HeaderId::other;
  const std::uint8_t index = kBySlot.index[slot_of(name)];
  if (index == 0xff) return HeaderId::other;
  const Known& known = kKnown[index];
  return known.name.size() == length && same_bytes(known.name.data(), name.data(), length) ? known.id : HeaderId::other;
}

std::string_view name_of(HeaderId id) { return kNames[static_cast<std::size_t>(id)]; }

void Headers::reserve(std::size_t count) {
  if (count <= capacity_) return;
  CHECK(capacity_ < kMaxFields);
  const std::size_t capacity = count < kMaxFields ? count : kMaxFields;
  auto* fields = static_cast<HeaderField*>(arena_->allocate(capacity * sizeof(HeaderField), alignof(HeaderField)));
  for (std::size_t i = 0; i < count_; ++i) new (fields + i) HeaderField(fields_[i]);
  fields_ = fields;
  capacity_ = static_cast<std::uint16_t>(capacity);
}

void Headers::add(std::string_view name, std::string_view value) {
  const HeaderId id = header_id(name);
  add_view(keep_name(*arena_, name, id), arena_->copy(value), id);
}

void Headers::set(std::string_view name, std::string_view value) {
  const std::string_view kept = arena_->copy(value);  // first: `value` may be a view of what is removed
  const std::string_view kept_name = arena_->copy(name);
  remove(kept_name);
  add_view(kept_name, kept, header_id(kept_name));
}

std::size_t Headers::remove(std::string_view name) {
  const HeaderId id = header_id(name);
  if (id != HeaderId::other) return remove(id);
  if ((seen_ & bit(HeaderId::other)) == 0) return 0;
  std::size_t removed = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    if (fields_[i].id != HeaderId::other || fields_[i].name != name) continue;
    fields_[i].id = HeaderId::removed;
    ++removed;
  }
  return removed;
}

std::size_t Headers::remove_seen(HeaderId id) {
  if (id == HeaderId::removed) return 0;
  std::size_t removed = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    if (fields_[i].id != id) continue;
    fields_[i].id = HeaderId::removed;
    ++removed;
  }
  return removed;
}

const HeaderField* Headers::find_seen(HeaderId id) const {
  for (std::size_t i = 0; i < count_; ++i) {
    if (fields_[i].id == id) return &fields_[i];
  }
  return nullptr;
}

const HeaderField* Headers::find(std::string_view name) const {
  const HeaderId id = header_id(name);
  if (id != HeaderId::other) return find(id);
  if ((seen_ & bit(HeaderId::other)) == 0) return nullptr;
  for (std::size_t i = 0; i < count_; ++i) {
    if (fields_[i].id == HeaderId::other && fields_[i].name == name) return &fields_[i];
  }
  return nullptr;
}

std::string_view Headers::value(HeaderId id) const {
  const HeaderField* field = find(id);
  return field == nullptr ? std::string_view() : field->value;
}

std::string_view Headers::value(std::string_view name) const {
  const HeaderField* field = find(name);
  return field == nullptr ? std::string_view() : field->value;
}

std::size_t Headers::count(HeaderId id) const {
  if ((seen_ & bit(id)) == 0) return 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < count_; ++i) count += fields_[i].id == id ? 1 : 0;
  return count;
}

std::size_t Headers::size() const {
  std::size_t count = 0;
  for (std::size_t i = 0; i < count_; ++i) count += fields_[i].id != HeaderId::removed ? 1 : 0;
  return count;
}

void Headers::copy_to(Headers& other) const {
  other.reserve(std::size_t{other.count_} + count_);
  for (std::size_t i = 0; i < count_; ++i) {
    const HeaderField& field = fields_[i];
    if (field.id == HeaderId::removed) continue;
    other.add_view(keep_name(*other.arena_, field.name, field.id), other.arena_->copy(field.value), field.id);
  }
}

}  // namespace weir
