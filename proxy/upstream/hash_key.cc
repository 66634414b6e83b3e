#include "proxy/upstream/hash_key.h"

#include "proxy/base/hash.h"
#include "proxy/base/text.h"
#include "proxy/message/head.h"
#include "proxy/runtime/address.h"

namespace weir {
namespace {

constexpr std::string_view kTokenCharacters =
    "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";  // RFC 9110 5.6.2

struct KindName {
  HashKeyPart::Kind kind;
  std::string_view word;
  bool named;
};
constexpr KindName kKinds[] = {{HashKeyPart::Kind::header, "header:", true},
                               {HashKeyPart::Kind::cookie, "cookie:", true},
                               {HashKeyPart::Kind::query, "query:", true},
                               {HashKeyPart::Kind::client_address, "client_address", false},
                               {HashKeyPart::Kind::path, "path", false}};

// The value of `name` in a list of name=value; none when it is not there.
std::optional<std::string_view> value_in(std::string_view list, char separator, std::string_view name) {
  while (!list.empty()) {
    const std::size_t end = list.find(separator);
    std::string_view one = list.substr(0, end);
    list = end == std::string_view::npos ? std::string_view() : list.substr(end + 1);
    while (!one.empty() && (one.front() == ' ' || one.front() == '\t')) one.remove_prefix(1);
    const std::size_t equals = one.find('=');
    if (one.substr(0, equals) == name) return equals == std::string_view::npos ? std::string_view() : one.substr(equals + 1);
  }
  return std::nullopt;
}

std::optional<std::string_view> cookie_of(const Headers& headers, std::string_view name) {
  for (const HeaderField& field : headers) {  // HTTP/2 may split them over several fields
    if (field.id != HeaderId::cookie) continue;
    if (const auto value = value_in(field.value, ';', name)) return value;
  }
  return std::nullopt;
}

std::optional<std::string_view> value_of(const HashKeyPart& part, const RequestHead* head, const Address* client) {
  if (part.kind == HashKeyPart::Kind::client_address) {
    // All clients of a unix socket have the same: that tells nobody apart.
    if (client == nullptr || client->family() == Address::Family::none || client->family() == Address::Family::unix_path) return {};
    return client->host();
  }
  if (head == nullptr) return std::nullopt;
  switch (part.kind) {
    case HashKeyPart::Kind::header: {
      if (part.name == "host") return head->authority.empty() ? std::nullopt : std::optional(head->authority);
      const HeaderField* field = head->headers.find(part.name);
      return field == nullptr ? std::nullopt : std::optional(field->value);
    }
    case HashKeyPart::Kind::cookie: return cookie_of(head->headers, part.name);
    case HashKeyPart::Kind::query: {
      const std::size_t begin = head->target.find('?');
      return begin == std::string_view::npos ? std::nullopt : value_in(head->target.substr(begin + 1), '&', part.name);
    }
    case HashKeyPart::Kind::path: return head->path();
    case HashKeyPart::Kind::client_address: break;
  }
  return std::nullopt;
}

}  // namespace

Result<HashKeyPart> parse_hash_key_part(std::string_view text) {
  for (const KindName& known : kKinds) {
    if (!known.named && known.word == text) return HashKeyPart{known.kind, {}};
    if (!known.named || text.substr(0, known.word.size()) != known.word) continue;
    const std::string_view name = text.substr(known.word.size());
    if (name.empty() || name.find_first_not_of(kTokenCharacters) != std::string_view::npos) break;
    return HashKeyPart{known.kind, known.kind == HashKeyPart::Kind::header ? ascii_lower(name) : std::string(name)};
  }
  return Error{concat("expected header:NAME, cookie:NAME, query:NAME, client_address or path, got ", text), 0};
}

std::string to_text(const HashKeyPart& part) {
  for (const KindName& known : kKinds) {
    if (known.kind == part.kind) return concat(known.word, part.name);
  }
  return {};
}

std::optional<std::uint64_t> hash_of_key(std::span<const HashKeyPart> parts, const RequestHead* head, const Address* client) {
  std::uint64_t hash = 0;
  bool any = false;
  for (const HashKeyPart& part : parts) {
    const auto value = value_of(part, head, client);
    any = any || value.has_value();
    hash = spread_bits(hash + 0x9e3779b97f4a7c15U) ^ (value ? hash_text(*value) : 0);
  }
  if (!any) return std::nullopt;
  return hash;
}

}  // namespace weir
