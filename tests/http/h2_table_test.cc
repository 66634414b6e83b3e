// What HPACK's table is given: fields that repeat, and none that differs with every message; and the scan of the values that come out.
#include <set>

#include "proxy/http/byte_scan.h"
#include "tests/http/h2_client_world.h"

namespace weir {

TEST_CASE("h2 client: what differs with every request does not push out of the table what repeats") {
  H2ClientWorld w;
  w.say(frames::server_preface());
  w.heard();
  std::set<std::size_t> sizes;
  for (int i = 0; i < 200; ++i) {
    TestCall& call = w.call("GET", "/a");
    call.head.headers.add("user-agent", "a client with a name that is long enough to be worth a place");
    call.head.headers.add("x-request-id", std::to_string(10000000 + i));
    call.head.headers.add("traceparent", std::to_string(20000000 + i));
    call.head.headers.add("grpc-timeout", std::to_string(30000000 + i) + "u");
    w.open(call);
    w.run();
    for (const frames::Frame& frame : w.heard()) {
      if (frame.type == frames::headers && i >= 1) sizes.insert(frame.payload.size());
    }
    call.stream.reset();
    w.run();
    w.heard();
  }
  REQUIRE(!sizes.empty());
  // Digits take five or six bits each; beyond that all are alike: the user agent was told once.
  CHECK(*sizes.rbegin() - *sizes.begin() <= 12);
  CHECK(*sizes.rbegin() < 70);
}

TEST_CASE("a value is scanned byte for byte, wherever the byte stands") {
  for (std::size_t size = 0; size <= 40; ++size) {
    CHECK(holds_value_bytes(std::string(size, 'a')));
    for (std::size_t at = 0; at < size; ++at) {
      std::string value(size, 'a');
      for (int byte = 0; byte < 256; ++byte) {
        value[at] = static_cast<char>(byte);
        if (holds_value_bytes(value) != is_value_byte(value[at])) FAIL(size << ' ' << at << ' ' << byte);
      }
      std::string tabs(size, '\t');
      tabs[at] = '\x7f';
      CHECK_FALSE(holds_value_bytes(tabs));
    }
  }
}

TEST_CASE("a name is scanned byte for byte, wherever the byte stands") {
  CHECK_FALSE(is_lower_case_name(""));
  for (std::size_t size = 1; size <= 40; ++size) {
    for (std::size_t at = 0; at < size; ++at) {
      std::string name(size, 'a');
      for (int byte = 0; byte < 256; ++byte) {
        name[at] = static_cast<char>(byte);
        const bool fine = is_token_byte(name[at]) && (name[at] < 'A' || name[at] > 'Z');
        if (is_lower_case_name(name) != fine) FAIL(size << ' ' << at << ' ' << byte);
      }
    }
  }
}

}  // namespace weir
