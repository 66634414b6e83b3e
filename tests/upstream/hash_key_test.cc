#include "proxy/upstream/hash_key.h"

#include <catch2/catch.hpp>

#include "proxy/message/head.h"
#include "proxy/runtime/address.h"

using namespace weir;

namespace {

HashKeyPart part(std::string_view text) {
  const Result<HashKeyPart> parsed = parse_hash_key_part(text);
  REQUIRE(parsed.ok());
  CHECK(to_text(*parsed) == text);
  return *parsed;
}

struct Asked {
  ArenaPool pool;
  Arena& arena = pool.open();
  RequestHead* head = arena.make<RequestHead>(arena);
  ~Asked() { arena.release(); }
  std::optional<std::uint64_t> hash(const std::vector<HashKeyPart>& parts, const char* client = "10.1.2.3:4000") const {
    const auto address = Address::parse(client);
    return hash_of_key(parts, head, &*address);
  }
};

}  // namespace

TEST_CASE("the parts of a hash key are written as they are read") {
  for (const char* text : {"header:x-user", "cookie:Session", "query:id", "client_address", "path"}) part(text);
  CHECK(parse_hash_key_part("header:X-User")->name == "x-user");
  for (const char* text : {"", "header:", "header:a b", "cookie", "x-user", "client", "query:a=b"}) {
    INFO(text);
    CHECK_FALSE(parse_hash_key_part(text).ok());
  }
}

TEST_CASE("each part hashes its own value, the same in every process") {
  Asked one;
  one.head->target = "/cart?id=7&idx=8";
  one.head->headers.add("x-user", "ann");
  one.head->headers.add("cookie", "a=1; Session=s1");
  one.head->headers.add("cookie", "b=2");
  Asked other;
  other.head->target = "/cart?idx=8&id=7";
  other.head->headers.add("x-user", "ann");
  other.head->headers.add("cookie", "b=2; Session=s1");
  for (const char* text : {"header:x-user", "cookie:Session", "cookie:b", "query:id", "path"}) {
    INFO(text);
    REQUIRE(one.hash({part(text)}));
    CHECK(one.hash({part(text)}) == other.hash({part(text)}));
  }
  CHECK(one.hash({part("client_address")}, "10.1.2.3:1") == one.hash({part("client_address")}, "10.1.2.3:2"));
  CHECK(one.hash({part("client_address")}) != one.hash({part("client_address")}, "10.1.2.4:1"));
  CHECK(one.hash({part("query:id")}) != one.hash({part("query:idx")}));
  CHECK(one.hash({part("header:x-user"), part("path")}) != one.hash({part("path"), part("header:x-user")}));
}

TEST_CASE("who has none of the key has no hash; a part that is missing is not an empty one") {
  Asked asked;
  asked.head->target = "/";
  CHECK_FALSE(asked.hash({part("header:x-user")}));
  CHECK_FALSE(asked.hash({part("cookie:x"), part("query:x"), part("header:x-user")}));
  CHECK_FALSE(asked.hash({part("client_address")}, "unix:/run/app.sock"));
  const auto missing = asked.hash({part("header:x-user"), part("path")});
  REQUIRE(missing);
  asked.head->headers.add("x-user", "");
  CHECK(asked.hash({part("header:x-user")}));
  CHECK(asked.hash({part("header:x-user"), part("path")}) != missing);
  CHECK_FALSE(hash_of_key(std::vector{part("header:x-user")}, nullptr, nullptr));  // a stream
}
