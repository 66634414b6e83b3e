// `file:` endpoints: read with the configuration, and again when the file changes.
#include <catch2/catch.hpp>

#include "tests/support/scripted_watcher.h"
#include "tests/upstream/upstream_world.h"

using namespace weir;
using namespace weir::test;

namespace {

const std::string kPath = "/etc/weir/endpoints/shop.yaml";
const ServiceConfig kService = UpstreamWorld::config({"file:" + kPath});
using List = std::vector<std::string>;

// A world whose one file holds `list`, or what is wrong with it.
struct FileWorld {
  explicit FileWorld(bool watched = true) : watcher(world.main) {
    const auto read = [this](const std::string& path) -> Result<std::vector<EndpointConfig>> {
      CHECK(path == kPath);
      ++reads;
      if (!wrong.empty()) return Error{wrong};
      return UpstreamWorld::config(list).endpoints;
    };
    world.directory.equip({read, watched ? &watcher : nullptr, nullptr});
  }
  List addresses() {
    List found;
    for (const EndpointStatus& endpoint : world.status().endpoints) found.push_back(endpoint.address);
    return found;
  }
  void touch() {
    watcher.touch(kPath);
    world.run();
  }
  List list;
  std::string wrong;
  int reads = 0;
  std::unique_ptr<UpstreamWorld> owned = std::make_unique<UpstreamWorld>();
  UpstreamWorld& world = *owned;
  ScriptedWatcher watcher;
  ~FileWorld() { owned.reset(); }  // before the watcher
};

}  // namespace

TEST_CASE("a file's endpoints are there at once, and change when it does; who stays keeps his place") {
  FileWorld files;
  files.list = {"127.0.0.1:1", "127.0.0.1:2"};
  files.world.apply(kService);
  CHECK(files.addresses() == files.list);
  const std::uint32_t id = files.world.status().endpoints[1].id;
  files.list = {"127.0.0.1:2", "127.0.0.1:3"};
  CHECK(files.addresses() == List{"127.0.0.1:1", "127.0.0.1:2"});
  files.touch();
  CHECK(files.addresses() == files.list);
  CHECK(files.world.status().endpoints[0].id == id);
  files.touch();  // the same again is no change
  CHECK(files.world.directory.status()[0].discovery->updates == 2);
}

TEST_CASE("a file that is broken or gone leaves the last good list, and says so") {
  FileWorld files;
  files.list = {"127.0.0.1:1"};
  files.world.apply(kService);
  files.wrong = "shop.yaml:3:5: [1]: expected a port";
  files.touch();
  files.world.advance(5s);
  CHECK(files.addresses() == List{"127.0.0.1:1"});
  ServiceStatus status = files.world.directory.status()[0];
  CHECK(status.discovery_error == "file:" + kPath + ": shop.yaml:3:5: [1]: expected a port");
  CHECK(status.discovery->errors == 1);
  CHECK(status.discovery->age == Duration(5s));
  files.wrong.clear();
  files.touch();
  status = files.world.directory.status()[0];
  CHECK(status.discovery_error.empty());
  files.world.advance(1h);
  CHECK(files.world.directory.status()[0].discovery->age == Duration(0));  // it says what holds now
}

TEST_CASE("a list that is empty on purpose empties the service") {
  FileWorld files;
  files.list = {"127.0.0.1:1"};
  files.world.apply(kService);
  files.list = {};
  files.touch();
  CHECK(files.addresses().empty());
  TestRequest request(files.world);
  REQUIRE(request.failed);
  CHECK(request.failure.kind == FailureKind::no_endpoint);
}

TEST_CASE("a file may list names, which come and go with it") {
  FileWorld files;
  files.list = {"dns:a.test:80", "127.0.0.1:1"};
  files.world.apply(kService);
  CHECK(files.addresses() == List{"127.0.0.1:1"});
  files.world.resolver.answer({"10.0.0.1:80"}, 1s);
  CHECK(files.addresses() == List{"10.0.0.1:80", "127.0.0.1:1"});
  files.list = {"127.0.0.1:1"};
  files.touch();
  CHECK(files.addresses() == List{"127.0.0.1:1"});
  files.world.advance(1h);
  CHECK(files.world.resolver.asked == 1);
}

TEST_CASE("a reload reads the file again; a service that is gone watches it no more") {
  FileWorld files(GENERATE(true, false));
  files.list = {"127.0.0.1:1"};
  files.world.apply(kService);
  files.list = {"127.0.0.1:2"};
  files.world.apply(kService);
  CHECK(files.addresses() == List{"127.0.0.1:2"});
  CHECK(files.reads == 2);
  files.world.directory.apply({}, {});
  CHECK(files.watcher.watches() == 0);
  files.list = {"127.0.0.1:3"};
  files.world.apply(kService);
  CHECK(files.addresses() == List{"127.0.0.1:3"});
}

TEST_CASE("a file that cannot be read at first is an error, until it can") {
  FileWorld files;
  files.wrong = "cannot be read: No such file or directory";
  files.world.apply(kService);
  CHECK(files.addresses().empty());
  CHECK_FALSE(files.world.directory.status()[0].discovery_error.empty());
  files.wrong.clear();
  files.list = {"127.0.0.1:1"};
  files.touch();
  CHECK(files.addresses() == List{"127.0.0.1:1"});
}
