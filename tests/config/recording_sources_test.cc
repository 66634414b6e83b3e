#include "config/recording_sources.h"

#include <catch2/catch.hpp>

#include "tests/config/memory_sources.h"

namespace weir::config {

TEST_CASE("what was read and looked for is remembered, with the folders in which a pattern's files appear") {
  MemorySources files;
  files.files = {{"/etc/weir/weir.yaml", "a"}, {"/etc/weir/conf.d/a.yaml", "b"}, {"/etc/weir/teams/x", ""}, {"/etc/weir/teams/y", ""}};
  RecordingSources sources(files);
  sources.begin();
  CHECK(sources.read_file("/etc/weir/weir.yaml").ok());
  CHECK_FALSE(sources.read_file("/run/secret").ok());
  CHECK(sources.match("/etc/weir/conf.d/*.yaml")->size() == 1);
  CHECK(sources.match("/etc/weir/teams/*/*.yaml")->empty());
  CHECK(sources.match("one.yaml")->empty());
  CHECK(sources.places() == std::vector<std::string>{".", "/etc/weir/conf.d", "/etc/weir/teams", "/etc/weir/teams/x", "/etc/weir/teams/y",
                                                     "/etc/weir/weir.yaml", "/run/secret"});
  sources.begin();
  CHECK(sources.places().empty());
}

TEST_CASE("what was read has changed when a text, an error or a list of names is another one") {
  MemorySources files;
  files.files = {{"/a", "text"}, {"/d/x.yaml", "b"}};
  RecordingSources sources(files);
  static_cast<void>(sources.read_file("/a"));
  static_cast<void>(sources.read_file("/secret"));
  static_cast<void>(sources.match("/d/*.yaml"));
  CHECK_FALSE(sources.changed());
  files.files["/other"] = "x";
  CHECK_FALSE(sources.changed());
  SECTION("a text") { files.files["/a"] = "Text"; }
  SECTION("a file that was not there") { files.files["/secret"] = ""; }
  SECTION("a file that is gone") { files.files.erase("/a"); }
  SECTION("a name that matches") { files.files["/d/y.yaml"] = ""; }
  SECTION("a name that matched") { files.files.erase("/d/x.yaml"); }
  CHECK(sources.changed());
}

}  // namespace weir::config
