// HashKeyPart: what of a request ring_hash and maglev go by; hash_of_key hashes all parts of a service's hash_key together.
// ServiceConfig holds the parts; UpstreamLink asks for the hash of each try.
// Pure: the same request gives the same hash in every weir. It never looks into bodies and never decodes escapes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proxy/base/result.h"

namespace weir {

class Address;
struct RequestHead;

struct HashKeyPart {
  enum class Kind : std::uint8_t { header, cookie, query, client_address, path };
  Kind kind = Kind::client_address;
  std::string name;  // of header (in lower case), cookie and query
  bool operator==(const HashKeyPart&) const = default;
};
Result<HashKeyPart> parse_hash_key_part(std::string_view text);  // header:NAME, cookie:NAME, query:NAME, client_address, path
std::string to_text(const HashKeyPart& part);

// Parts that the request lacks count as missing; none when it lacks them all (an empty value is a value). Either may be null.
std::optional<std::uint64_t> hash_of_key(std::span<const HashKeyPart> parts, const RequestHead* head, const Address* client);

}  // namespace weir
