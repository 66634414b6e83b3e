// The main job: routes, rewriting, headers, local answers.
#include <catch2/catch.hpp>

#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;

namespace {

const std::string kBase = R"(version: 1
access_log: { path: /access.log }
admin: { read_only_listen: 127.0.0.1:9901, listen: unix:/run/weir.sock }
listeners:
  - name: out
    direction: outbound
    listen: 127.0.0.1:15001
    routes:
      - { service: app }
services:
  app: { endpoints: [10.0.0.1:80] }
)";

}  // namespace

TEST_CASE("a request goes through the default chain to the upstream, and its answer comes back") {
  World world(kBase);
  SimUpstream& app = world.upstream("10.0.0.1:80");
  const Message answer = world.get("/hello?x=1");
  CHECK(answer.status() == 200);
  CHECK(answer.body == "ok");
  REQUIRE(app.seen.size() == 1);
  CHECK(app.seen[0].start_line == "GET /hello?x=1 HTTP/1.1");
}
