// Headers: the fields of one message, in order, names in lower case, values without surrounding white space.
// It lives in an arena and owns nothing: names and values are views into that arena (requests) or into the read buffer, valid
// only during the callback (responses). It never allocates outside the arena and never checks syntax: the codecs do.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/runtime/arena.h"

namespace weir {

// Fields that the data path asks for, so that lookups compare a byte. `other` for every other name.
enum class HeaderId : std::uint8_t {
  other,
  host,
  content_length,
  transfer_encoding,
  connection,
  keep_alive,
  proxy_connection,
  te,
  trailer,
  upgrade,
  expect,
  via,
  x_forwarded_for,
  x_forwarded_proto,
  x_forwarded_host,
  x_forwarded_client_cert,
  x_request_id,
  x_weir_attempt,
  date,
  server,
  idempotency_key,
  retry_after,
  grpc_status,
  grpc_timeout,
  content_type,
  forwarded,
  proxy_status,
  proxy_authenticate,
  proxy_authorization,
  http2_settings,
  cookie,
  authorization,
  removed,  // a field taken out; iteration skips it
};

HeaderId header_id(std::string_view lower_case_name);
// The name of that id, static; empty for `other` and `removed`.
std::string_view name_of(HeaderId id);
// The name as it may be kept: the static one where it is known, else a copy in the arena.
inline std::string_view keep_name(Arena& arena, std::string_view name, HeaderId id) {
  return id == HeaderId::other ? arena.copy(name) : name_of(id);
}

struct HeaderField {
  std::string_view name;
  std::string_view value;
  HeaderId id = HeaderId::other;
  // Name and value stand in memory as the line that would be written: `name: value` CRLF. Neighbors can then be copied in one piece.
  bool is_line = false;

  static constexpr std::size_t kExtra = 4;  // ": " and CRLF
  std::size_t line_size() const { return name.size() + value.size() + kExtra; }
};

class Headers {
 public:
  explicit Headers(Arena& arena) : arena_(&arena) {}

  // Takes views as they are: the caller vouches for their lifetime and the lower case of the name.
  void add_view(const HeaderField& field) {
    if (count_ == capacity_) reserve(capacity_ == 0 ? kFirstCapacity : std::size_t{capacity_} * 2);
    fields_[count_++] = field;
    seen_ |= bit(field.id);
    line_bytes_ += static_cast<std::uint32_t>(field.line_size());
  }
  void reserve(std::size_t count);  // room for so many, exactly: where few are expected, such as trailers
  void add_view(std::string_view name, std::string_view value, HeaderId id) { add_view(HeaderField{name, value, id}); }
  void add_view(std::string_view name, std::string_view value) { add_view(name, value, header_id(name)); }
  void add(std::string_view lower_case_name, std::string_view value);  // copies both into the arena
  void set(std::string_view lower_case_name, std::string_view value);  // removes all of that name, then adds
  std::size_t remove(std::string_view lower_case_name);
  std::size_t remove(HeaderId id) { return (seen_ & bit(id)) == 0 ? 0 : remove_seen(id); }

  bool has(HeaderId id) const { return find(id) != nullptr; }
  const HeaderField* find(HeaderId id) const { return (seen_ & bit(id)) == 0 ? nullptr : find_seen(id); }  // the first, or null
  const HeaderField* find(std::string_view lower_case_name) const;
  std::string_view value(HeaderId id) const;  // of the first; empty when absent
  std::string_view value(std::string_view lower_case_name) const;
  std::size_t count(HeaderId id) const;

  // Iteration sees removed fields too: skip `id == HeaderId::removed`.
  const HeaderField* begin() const { return fields_; }
  const HeaderField* end() const { return fields_ + count_; }
  HeaderField* begin() { return fields_; }
  HeaderField* end() { return fields_ + count_; }
  std::size_t size() const;  // without the removed ones
  bool empty() const { return size() == 0; }
  // Whether one of these was ever added: a quick "no".
  template <std::size_t N>
  bool may_have(const HeaderId (&ids)[N]) const {
    std::uint64_t wanted = 0;
    for (const HeaderId id : ids) wanted |= bit(id);
    return (seen_ & wanted) != 0;
  }
  std::size_t line_bytes() const { return line_bytes_; }  // at least what all fields take as lines: removed ones count on
  void clear() {
    count_ = 0;
    seen_ = 0;
    line_bytes_ = 0;
  }
  void copy_to(Headers& other) const;  // deep: into the other's arena
  Arena& arena() const { return *arena_; }

 private:
  static constexpr std::size_t kFirstCapacity = 16;
  static std::uint64_t bit(HeaderId id) { return std::uint64_t{1} << static_cast<unsigned>(id); }
  std::size_t remove_seen(HeaderId id);
  const HeaderField* find_seen(HeaderId id) const;

  Arena* arena_;
  HeaderField* fields_ = nullptr;
  std::uint16_t count_ = 0;
  std::uint16_t capacity_ = 0;
  std::uint32_t line_bytes_ = 0;
  std::uint64_t seen_ = 0;  // ids ever added: a quick "no"
};

}  // namespace weir
