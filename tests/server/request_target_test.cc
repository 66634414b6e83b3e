#include "proxy/server/request_target.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "proxy/base/hash.h"

using namespace weir;

namespace {

struct Scratch {
  ArenaPool pool;
  Arena& arena;
  Scratch() : arena(pool.open()) {}
  ~Scratch() { arena.release(); }
  std::string target(std::string_view text) {
    const Normalized made = normalize_target(arena, text);
    return made.refused.empty() ? std::string(made.text) : "!" + std::string(made.refused);
  }
  std::string authority(std::string_view text) {
    const Normalized made = normalize_authority(arena, text);
    return made.refused.empty() ? std::string(made.text) : "!" + std::string(made.refused);
  }
  std::string rewrite(std::string_view text, std::string_view prefix, std::string_view by) {
    return std::string(rewrite_prefix(arena, text, prefix, by));
  }
};

}  // namespace

TEST_CASE("an ordinary target is left as it is, without a copy") {
  Scratch s;
  for (const std::string_view text : {"/", "/a/b?x=/../%2f#", "/a//b", "/.well-known/x", "/a/...", "/a/b.c/..d", "*", "/a?%zz"}) {
    if (text.find('#') != std::string_view::npos) continue;
    const Normalized made = normalize_target(s.arena, text);
    CHECK(made.refused.empty());
    CHECK(made.text.data() == text.data());
    CHECK(made.text == text);
  }
}

TEST_CASE("encodings are brought to normal form: unreserved ones decoded, the others in upper case") {
  Scratch s;
  CHECK(s.target("/%61%2D%7e/%c3%A4?%61") == "/a-~/%C3%A4?%61");
  CHECK(s.target("/a%20b%3f") == "/a%20b%3F");
  CHECK(s.target("/%2ehidden") == "/.hidden");
}

TEST_CASE("what two readers could understand differently is refused") {
  Scratch s;
  for (const char* text :
       {"/a/../b", "/..",    "/.",  "/a/.", "/a/./b", "/%2e%2e/b", "/a/%2E", "/..;x=1/b", "/a/.;/b", "/a%2fb",    "/a%2Fb", "/a%5cb",
        "/a\\b",   "/a%00b", "/a%", "/a%4", "/a%4g",  "/a%zz",     "/a#b",   "a/b",       "",        "http://x/", "?a"}) {
    INFO(text);
    CHECK(s.target(text).substr(0, 1) == "!");
  }
}

TEST_CASE("hosts are lower case, without a final dot, and only hosts") {
  Scratch s;
  CHECK(s.authority("example.com") == "example.com");
  CHECK(s.authority("Example.COM.:8080") == "example.com:8080");
  CHECK(s.authority("example.com:") == "example.com");
  CHECK(s.authority("my_service") == "my_service");
  CHECK(s.authority("[2001:DB8::1]:80") == "[2001:db8::1]:80");
  CHECK(s.authority("10.0.0.1:80") == "10.0.0.1:80");
  CHECK(s.authority("") == "");
  for (const char* text : {"user@example.com", "a b",  "a/b", "a:b",   "a:80:80", "a:99999", "a:123456", "[::1",
                           "[::1]x",           "[zz]", "[]",  "a%2fb", "a\tb",    "a?b",     "a#b",      "a..",
                           "a..:80",           ".",    "..",  ".:80",  ":80",     ":"}) {
    INFO(text);
    CHECK(s.authority(text).substr(0, 1) == "!");
  }
}

TEST_CASE("a rewritten prefix joins by segment and never leaves an empty path") {
  Scratch s;
  CHECK(s.rewrite("/cart", "/cart", "/") == "/");
  CHECK(s.rewrite("/cart/", "/cart", "/") == "/");
  CHECK(s.rewrite("/cart/x", "/cart", "/") == "/x");
  CHECK(s.rewrite("/cart/x", "/cart/", "/") == "/x");
  CHECK(s.rewrite("/cart?q=1", "/cart", "/") == "/?q=1");
  CHECK(s.rewrite("/cart/x?q=1", "/cart", "/shop/basket") == "/shop/basket/x?q=1");
  CHECK(s.rewrite("/cart/x", "/cart/", "/shop") == "/shop/x");
  CHECK(s.rewrite("/cart/x", "/cart", "/shop/") == "/shop/x");
  CHECK(s.rewrite("/cart?q", "/cart", "") == "/?q");
  CHECK(s.rewrite("/x", "/", "/a") == "/a/x");
  CHECK(s.rewrite("/", "/", "/a") == "/a");
}

TEST_CASE("equal texts hash equally, different ones differ, and shares come out even") {
  CHECK(hash_text("abcdefgh1") == hash_text(std::string("abcdefgh") + "1"));
  CHECK(hash_text("") != hash_text(std::string_view("\0", 1)));
  CHECK(hash_text("1b4e28ba-2fa1-11d2-883f-0016d3cca427") == 0x27be132bf8e02c4aU);  // the same in every build
  std::set<std::uint64_t> seen;
  int below = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t hash = hash_text("request-" + std::to_string(i));
    seen.insert(hash);
    below += static_cast<double>(hash >> 11) * 0x1.0p-53 < 0.1 ? 1 : 0;
  }
  CHECK(seen.size() == 20000);
  CHECK(below > 1850);
  CHECK(below < 2150);
}
