// DNS messages as servers send them, and as they should not.
#include "proxy/net/srv_reply.h"

#include <catch2/catch.hpp>
#include <initializer_list>
#include <string>
#include <vector>

using namespace weir;

namespace {

// Writes a message by hand, so that it shares no code with what reads it.
struct Message {
  std::vector<std::uint8_t> bytes;
  void one(int value) { bytes.push_back(static_cast<std::uint8_t>(value)); }
  void two(int value) {
    one(value >> 8);
    one(value);
  }
  void four(long value) {
    two(static_cast<int>(value >> 16));
    two(static_cast<int>(value & 0xffff));
  }
  void name(std::initializer_list<const char*> labels) {
    for (const std::string label : labels) {
      one(static_cast<int>(label.size()));
      for (const char c : label) one(c);
    }
    one(0);
  }
  void header(int questions, int answers) {
    for (const int value : {0x1234, 0x8180, questions, answers, 0, 0}) two(value);
  }
  void question() {
    name({"_http", "_tcp", "shop"});
    two(33);
    two(1);
  }
  // The owner's name is a pointer to the question's.
  void record(int type, long ttl, int length) {
    two(0xc00c);
    two(type);
    two(1);
    four(ttl);
    two(length);
  }
  void srv(long ttl, int priority, int weight, int port, std::initializer_list<const char*> target) {
    Message data;
    data.name(target);
    record(33, ttl, static_cast<int>(6 + data.bytes.size()));
    two(priority);
    two(weight);
    two(port);
    bytes.insert(bytes.end(), data.bytes.begin(), data.bytes.end());
  }
};

}  // namespace

TEST_CASE("every record is read, with the smallest time of all") {
  Message message;
  message.header(1, 3);
  message.question();
  message.srv(300, 10, 60, 8080, {"Big", "Shop"});
  message.record(5, 20, 2);  // an alias on the way
  message.two(0xc00c);
  message.srv(30, 20, 0, 9090, {"small", "shop"});
  const SrvAnswer answer = read_srv_reply(message.bytes);
  REQUIRE(answer.outcome == LookupOutcome::found);
  REQUIRE(answer.targets.size() == 2);
  CHECK(answer.targets[0].host == "big.shop");
  CHECK(answer.targets[0].port == 8080);
  CHECK(answer.targets[0].priority == 10);
  CHECK(answer.targets[0].weight == 60);
  CHECK(answer.targets[1].host == "small.shop");
  CHECK(answer.targets[1].weight == 0);
  CHECK(answer.ttl == Duration(std::chrono::seconds(20)));
}

TEST_CASE("the root as target is kept as an empty host, and no record is an absence") {
  Message message;
  message.header(1, 1);
  message.question();
  SECTION("the root") {
    message.srv(60, 0, 0, 0, {});
    const SrvAnswer answer = read_srv_reply(message.bytes);
    REQUIRE(answer.targets.size() == 1);
    CHECK(answer.targets[0].host.empty());
  }
  SECTION("another type") {
    message.record(1, 60, 4);
    message.four(0x0a000001);
    CHECK(read_srv_reply(message.bytes).outcome == LookupOutcome::absent);
  }
}

TEST_CASE("of a message that is broken anywhere nothing is believed") {
  Message whole;
  whole.header(1, 2);
  whole.question();
  whole.srv(300, 10, 60, 8080, {"big", "shop"});
  whole.srv(300, 10, 60, 8080, {"small", "shop"});
  REQUIRE(read_srv_reply(whole.bytes).outcome == LookupOutcome::found);
  for (std::size_t length = 0; length < whole.bytes.size(); ++length) {
    INFO("cut at " << length);
    const std::vector<std::uint8_t> cut(whole.bytes.begin(), whole.bytes.begin() + static_cast<std::ptrdiff_t>(length));
    const SrvAnswer answer = read_srv_reply(cut);
    CHECK(answer.outcome == LookupOutcome::failed);
    CHECK(answer.targets.empty());
    CHECK_FALSE(answer.error.empty());
  }
  Message endless;  // a name that points at itself
  endless.header(0, 1);
  endless.two(0xc00c);
  for (int i = 0; i < 10; ++i) endless.one(0);
  CHECK(read_srv_reply(endless.bytes).outcome == LookupOutcome::failed);
  Message shorter;  // the target reaches beyond its record
  shorter.header(1, 1);
  shorter.question();
  shorter.record(33, 60, 8);
  for (int i = 0; i < 3; ++i) shorter.two(1);
  shorter.name({"big", "shop"});
  CHECK(read_srv_reply(shorter.bytes).outcome == LookupOutcome::failed);
}
