#include "proxy/message/headers.h"

#include <cstring>

#include "proxy/base/check.h"

namespace weir {

namespace {

// The length is constant, so that the comparison is a load or two. The lengths are equal: the switch below
// saw to that.
template <std::size_t kSize>
bool is(std::string_view name, const char (&known)[kSize]) {
  return std::memcmp(name.data(), known, kSize - 1) == 0;
}

HeaderId long_header_id(std::string_view name) {
  switch (name.size()) {
    case 13:
      if (is(name, "authorization")) return HeaderId::authorization;
      break;
    case 14:
      if (is(name, "content-length")) return HeaderId::content_length;
      if (is(name, "http2-settings")) return HeaderId::http2_settings;
      break;
    case 15:
      if (is(name, "x-forwarded-for")) return HeaderId::x_forwarded_for;
      if (is(name, "idempotency-key")) return HeaderId::idempotency_key;
      break;
    case 16:
      if (is(name, "x-forwarded-host")) return HeaderId::x_forwarded_host;
      if (is(name, "proxy-connection")) return HeaderId::proxy_connection;
      break;
    case 17:
      if (is(name, "transfer-encoding")) return HeaderId::transfer_encoding;
      if (is(name, "x-forwarded-proto")) return HeaderId::x_forwarded_proto;
      break;
    case 18:
      if (is(name, "proxy-authenticate")) return HeaderId::proxy_authenticate;
      break;
    case 19:
      if (is(name, "proxy-authorization")) return HeaderId::proxy_authorization;
      break;
    default:
      break;
  }
  return HeaderId::other;
}

constexpr std::size_t kFirstCapacity = 16;
constexpr std::size_t kMaxFields = 0xffff;

}  // namespace

HeaderId header_id(std::string_view name) {
  switch (name.size()) {
    case 2:
      if (is(name, "te")) return HeaderId::te;
      break;
    case 3:
      if (is(name, "via")) return HeaderId::via;
      break;
    case 4:
      if (is(name, "host")) return HeaderId::host;
      if (is(name, "date")) return HeaderId::date;
      break;
    case 6:
      if (is(name, "cookie")) return HeaderId::cookie;
      if (is(name, "expect")) return HeaderId::expect;
      if (is(name, "server")) return HeaderId::server;
      break;
    case 7:
      if (is(name, "trailer")) return HeaderId::trailer;
      if (is(name, "upgrade")) return HeaderId::upgrade;
      break;
    case 9:
      if (is(name, "forwarded")) return HeaderId::forwarded;
      break;
    case 10:
      if (is(name, "connection")) return HeaderId::connection;
      if (is(name, "keep-alive")) return HeaderId::keep_alive;
      break;
    case 11:
      if (is(name, "grpc-status")) return HeaderId::grpc_status;
      if (is(name, "retry-after")) return HeaderId::retry_after;
      break;
    case 12:
      if (is(name, "content-type")) return HeaderId::content_type;
      if (is(name, "x-request-id")) return HeaderId::x_request_id;
      if (is(name, "grpc-timeout")) return HeaderId::grpc_timeout;
      if (is(name, "proxy-status")) return HeaderId::proxy_status;
      break;
    default:
      return long_header_id(name);
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
