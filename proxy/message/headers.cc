#include "proxy/message/headers.h"

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
    {"http2-settings", HeaderId::http2_settings},
    {"idempotency-key", HeaderId::idempotency_key},
    {"x-forwarded-for", HeaderId::x_forwarded_for},
    {"proxy-connection", HeaderId::proxy_connection},
    {"x-forwarded-host", HeaderId::x_forwarded_host},
    {"transfer-encoding", HeaderId::transfer_encoding},
    {"x-forwarded-proto", HeaderId::x_forwarded_proto},
    {"proxy-authenticate", HeaderId::proxy_authenticate},
    {"proxy-authorization", HeaderId::proxy_authorization},
};
constexpr std::size_t kLongestKnown = 19;

// Where the names of each length begin in kKnown, which is sorted by length.
struct ByLength {
  std::uint8_t begin[kLongestKnown + 2] = {};
  constexpr ByLength() {
    std::size_t at = 0;
    for (std::size_t length = 0; length <= kLongestKnown + 1; ++length) {
      while (at < std::size(kKnown) && kKnown[at].name.size() < length) ++at;
      begin[length] = static_cast<std::uint8_t>(at);
    }
  }
};
constexpr ByLength kByLength;
static_assert(kByLength.begin[kLongestKnown + 1] == std::size(kKnown), "kKnown is sorted by length");

constexpr std::size_t kFirstCapacity = 16;
constexpr std::size_t kMaxFields = 0xffff;

}  // namespace

HeaderId header_id(std::string_view name) {
  const std::size_t length = name.size();
  if (length > kLongestKnown) return HeaderId::other;
  for (std::size_t i = kByLength.begin[length]; i < kByLength.begin[length + 1]; ++i) {
    // The last byte tells nearly all names of one length apart, and memcmp is a call.
    if (kKnown[i].name.back() == name.back() &&
        std::memcmp(kKnown[i].name.data(), name.data(), length) == 0) {
      return kKnown[i].id;
    }
  }
  return HeaderId::other;
}

void Headers::grow() {
  CHECK(capacity_ < kMaxFields);
  const std::size_t wanted = capacity_ == 0 ? kFirstCapacity : std::size_t{capacity_} * 2;
  const std::size_t capacity = wanted < kMaxFields ? wanted : kMaxFields;
  auto* fields =
      static_cast<HeaderField*>(arena_->allocate(capacity * sizeof(HeaderField), alignof(HeaderField)));
  for (std::size_t i = 0; i < count_; ++i) new (fields + i) HeaderField(fields_[i]);
  fields_ = fields;
  capacity_ = static_cast<std::uint16_t>(capacity);
}

void Headers::add(std::string_view name, std::string_view value) {
  add_view(arena_->copy(name), arena_->copy(value), header_id(name));
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

std::size_t Headers::remove(HeaderId id) {
  if ((seen_ & bit(id)) == 0 || id == HeaderId::removed) return 0;
  std::size_t removed = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    if (fields_[i].id != id) continue;
    fields_[i].id = HeaderId::removed;
    ++removed;
  }
  return removed;
}

const HeaderField* Headers::find(HeaderId id) const {
  if ((seen_ & bit(id)) == 0) return nullptr;
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
  for (std::size_t i = 0; i < count_; ++i) {
    const HeaderField& field = fields_[i];
    if (field.id == HeaderId::removed) continue;
    other.add_view(other.arena_->copy(field.name), other.arena_->copy(field.value), field.id);
  }
}

}  // namespace weir
