// The swarm itself: that equal seeds give equal runs, and that its own peers can tell right from wrong.
#include <catch2/catch.hpp>

#include "tests/support/world.h"
#include "tests/swarm/run.h"
#include "tests/swarm/wire.h"

using namespace weir;
using namespace weir::test;

TEST_CASE("the same seed gives the same hash, and another seed another") {
  const Outcome first = run(make_plan(7));
  const Outcome again = run(make_plan(7));
  CHECK(first.hash == again.hash);
  CHECK(first.events == again.events);
  CHECK(first.hash != run(make_plan(8)).hash);
}

TEST_CASE("the same plan gives the same hash whatever is kept of it for people") {
  const Plan plan = make_plan(11);
  CHECK(run(plan).hash == run(plan, true).hash);
}

TEST_CASE("the swarm's reader takes one message at a time and sees where it is whole") {
  WireParser parser(WireParser::Kind::answer);
  std::string in = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab";
  CHECK(parser.next(in, false, false) == WireParser::Event::head);
  CHECK(parser.next(in, false, false) == WireParser::Event::more);
  CHECK(parser.inside());
  in += "cHTTP/1.1 204 No\r\n\r\n";
  CHECK(parser.next(in, false, false) == WireParser::Event::end);
  CHECK(parser.message().body == "abc");
  CHECK(parser.next(in, false, false) == WireParser::Event::head);
  CHECK(parser.next(in, false, false) == WireParser::Event::end);
  in = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n";
  CHECK(parser.next(in, false, false) == WireParser::Event::head);
  CHECK(parser.next(in, false, false) == WireParser::Event::end);
  CHECK(parser.message().body == "ab");
}

TEST_CASE("the swarm's reader refuses what is not well-formed") {
  for (const std::string text : {"HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nno field\r\n\r\n",
                                 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                                 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"}) {
    WireParser parser(WireParser::Kind::answer);
    std::string in = text;
    CHECK(parser.next(in, false, false) == WireParser::Event::bad);
  }
}

// The swarm's books did not balance after such a reload: what a listener had begun went with it.
TEST_CASE("exchanges of a listener that a reload took away stay counted") {
  const std::string text = R"(version: 1
listeners:
  - { name: out, direction: outbound, listen: 127.0.0.1:15001, routes: [ { respond: { status: 200 } } ] }
)";
  World world(text + "  - { name: gone, direction: outbound, listen: 127.0.0.1:15002, routes: [ { respond: { status: 200 } } ] }\n");
  CHECK(world.get("/", "", "gone").status() == 200);
  CHECK(world.get("/", "", "out").status() == 200);
  CHECK(world.server->workers()[0]->status().exchanges == 2);
  REQUIRE(world.reload(text));
  world.advance(30s);
  CHECK(world.server->workers()[0]->status().exchanges == 2);
}
