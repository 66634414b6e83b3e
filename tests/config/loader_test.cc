#include "config/loader.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>

#include "config/write.h"
#include "tests/config/memory_sources.h"

namespace weir::config {
namespace {

struct Loaded {
  bool readable = false;
  Value root;
  std::string said;
};

Loaded load(MemorySources& sources, const std::string& path = "/etc/weir/weir.yaml") {
  Files files;
  Diagnostics diagnostics;
  Result<Value> tree = load_tree(path, sources, files, diagnostics);
  Loaded loaded;
  loaded.readable = tree.ok();
  if (tree) loaded.root = *tree;
  loaded.said = tree ? diagnostics.print(files) : tree.error().message;
  return loaded;
}

Loaded load_one(const std::string& text) {
  MemorySources sources;
  sources.files["/etc/weir/weir.yaml"] = text;
  return load(sources);
}

TEST_CASE("a file that cannot be read is an error of its own kind") {
  MemorySources sources;
  const Loaded loaded = load(sources, "gone.yaml");
  CHECK_FALSE(loaded.readable);
  CHECK(loaded.said == "cannot read gone.yaml: No such file or directory");
}

TEST_CASE("an empty file and one that is no map are refused") {
  CHECK(load_one("").said == "/etc/weir/weir.yaml:1:1: error: the file is empty; expected at least version: 1\n");
  CHECK(load_one("- a\n").said == "/etc/weir/weir.yaml:1:1: error: expected a map of fields such as version: 1, got a list\n");
  CHECK(load_one("hello\n").said == "/etc/weir/weir.yaml:1:1: error: expected a map of fields such as version: 1, got hello\n");
}

TEST_CASE("a whole value comes from the environment or from a file beside the configuration") {
  MemorySources sources;
  sources.files["/etc/weir/weir.yaml"] = "a: ${env:PORT}\nb: [\"${file:token}\", \"${file:/run/token}\"]\n";
  sources.files["/etc/weir/token"] = "secret\n";
  sources.files["/run/token"] = "other\r\n";
  sources.variables["PORT"] = "80";
  const Loaded loaded = load(sources);
  CHECK(loaded.said.empty());
  CHECK(write_flow(loaded.root) == "{ a: 80, b: [\"secret\", \"other\"] }");
  CHECK(loaded.root.members[0].value.origin == "${env:PORT}");
}

TEST_CASE("what is not set, not there, or not a whole value is an error and nothing more is said of it") {
  const Loaded loaded = load_one("a: ${env:NONE}\nb: ${file:none}\nc: x${env:A}\nd: \"${ENV:A}\"\ne: \"${env:A}${env:B}\"\n");
  CHECK(loaded.said ==
        "/etc/weir/weir.yaml:1:4: error: a: the environment variable NONE is not set\n"
        "/etc/weir/weir.yaml:2:4: error: b: cannot read /etc/weir/none: No such file or directory\n"
        "/etc/weir/weir.yaml:3:4: error: c: ${env:NAME} and ${file:PATH} stand for a whole value only\n"
        "/etc/weir/weir.yaml:4:4: error: d: expected ${env:NAME} or ${file:PATH}, got ${ENV:A}\n"
        "/etc/weir/weir.yaml:5:4: error: e: ${env:NAME} and ${file:PATH} stand for a whole value only\n");
  for (const Value::Member& member : loaded.root.members) CHECK(member.value.is(Value::Kind::invalid));
}

TEST_CASE("included files add listeners, services and policies, each with places of its own") {
  MemorySources sources;
  sources.files["/etc/weir/weir.yaml"] = "version: 1\ninclude: [conf.d/*.yaml, none/*.yaml]\nservices: { a: 1 }\n";
  sources.files["/etc/weir/conf.d/1.yaml"] = "version: 1\nservices: { b: 2 }\nlisteners: [x]\n";
  sources.files["/etc/weir/conf.d/2.yaml"] = "policies: { p: 3 }\nlisteners: [y]\nlog: { level: info }\n";
  sources.files["/etc/weir/conf.d/skip.txt"] = "not: read\n";
  const Loaded loaded = load(sources);
  CHECK(loaded.said.empty());
  CHECK(write_flow(loaded.root) ==
        "{ version: 1, services: { a: 1, b: 2 }, listeners: [x, y], policies: { p: 3 }, log: { level: info } "
        "}");
  const Place b = loaded.root.find("services")->value.find("b")->place;
  CHECK(b.line == 2);
  CHECK(b.file == 1);
}

TEST_CASE("a name that two files define is an error with both places") {
  MemorySources sources;
  sources.files["/etc/weir/weir.yaml"] = "version: 1\ninclude: conf.d/*.yaml\nservices: { a: 1 }\nlog: { level: info }\n";
  sources.files["/etc/weir/conf.d/1.yaml"] = "services: { a: 2 }\nlog: { level: debug }\n";
  CHECK(load(sources).said ==
        "/etc/weir/conf.d/1.yaml:1:13: error: services.a: defined twice, first at /etc/weir/weir.yaml:3\n"
        "/etc/weir/conf.d/1.yaml:2:1: error: log: defined twice, first at /etc/weir/weir.yaml:4\n");
}

TEST_CASE("errors in included files are errors of the configuration") {
  MemorySources sources;
  sources.files["/etc/weir/weir.yaml"] = "version: 1\ninclude: [conf.d/*.yaml, { a: 1 }]\n";
  sources.files["/etc/weir/conf.d/1.yaml"] = "a: [\n";
  sources.files["/etc/weir/conf.d/2.yaml"] = "include: more.yaml\nversion: 2\n";
  sources.files["/etc/weir/conf.d/3.yaml"] = "";
  CHECK(load(sources).said ==
        "/etc/weir/weir.yaml:2:26: error: include[1]: expected a file or a pattern such as conf.d/*.yaml, "
        "got a map\n"
        "/etc/weir/conf.d/1.yaml:2:1: error: not valid YAML: end of sequence flow not found\n"
        "/etc/weir/conf.d/2.yaml:1:1: error: include: only the main file includes others\n"
        "/etc/weir/conf.d/2.yaml:2:10: error: version: expected 1, got 2\n");
}

TEST_CASE("a file that includes itself by a pattern is read once") {
  MemorySources sources;
  sources.files["/etc/weir/weir.yaml"] = "version: 1\ninclude: [\"*.yaml\", \"/etc/weir/*.yaml\"]\n";
  CHECK(load(sources).said.empty());
}

TEST_CASE("what a value is taken from must be text") {
  MemorySources sources;
  sources.files["/etc/weir/weir.yaml"] = "a: ${env:LATIN}\nb: ${file:latin}\nc: ${file:nul}\nd: ${file:good}\n";
  sources.variables["LATIN"] = "caf\xe9";
  sources.files["/etc/weir/latin"] = "caf\xe9\n";
  sources.files["/etc/weir/nul"] = std::string("a\0b", 3);
  sources.files["/etc/weir/good"] = "caf\xc3\xa9\n";
  const Loaded loaded = load(sources);
  CHECK(loaded.said ==
        "/etc/weir/weir.yaml:1:4: error: a: the environment variable LATIN holds no text: not UTF-8, or a NUL\n"
        "/etc/weir/weir.yaml:2:4: error: b: /etc/weir/latin holds no text: not UTF-8, or a NUL\n"
        "/etc/weir/weir.yaml:3:4: error: c: /etc/weir/nul holds no text: not UTF-8, or a NUL\n");
  CHECK(loaded.root.find("d")->value.text == "caf\xc3\xa9");
}

TEST_CASE("a folder whose name looks like a pattern is meant as it is written") {
  MemorySources sources;
  sources.files["/etc/weir[1]/weir.yaml"] = "version: 1\ninclude: conf.d/*.yaml\n";
  sources.files["/etc/weir[1]/conf.d/a.yaml"] = "services: { right: 1 }\n";
  sources.files["/etc/weir1/conf.d/a.yaml"] = "services: { wrong: 1 }\n";
  const Loaded loaded = load(sources, "/etc/weir[1]/weir.yaml");
  CHECK(loaded.said.empty());
  CHECK(write_flow(loaded.root) == "{ version: 1, services: { right: 1 } }");
}

TEST_CASE("a folder that cannot be read is an error, for nobody knows what it holds") {
  class Unreadable final : public MemorySources {
   public:
    Result<std::vector<std::string>> match(const std::string&) override { return Error{"conf.d: Permission denied", EACCES}; }
  };
  Unreadable sources;
  sources.files["/etc/weir/weir.yaml"] = "version: 1\ninclude: conf.d/*.yaml\n";
  CHECK(load(sources).said == "/etc/weir/weir.yaml:2:10: error: include: cannot look for conf.d/*.yaml: conf.d: Permission denied\n");
}

TEST_CASE("the host's patterns: what is not there matches nothing, loops of links are an error") {
  char folder[] = "/tmp/weir-sources-XXXXXX";
  REQUIRE(mkdtemp(folder) != nullptr);
  const std::string path = folder;
  HostSources host;
  const auto none = host.match(path + "/none/*.yaml");
  REQUIRE(none.ok());
  CHECK(none->empty());
  REQUIRE(symlink("loop", (path + "/loop").c_str()) == 0);
  const auto loop = host.match(path + "/loop/*.yaml");
  CHECK_FALSE(loop.ok());
  unlink((path + "/loop").c_str());
  rmdir(folder);
}

TEST_CASE("a listener by itself is a list of one, also across files") {
  MemorySources sources;
  sources.files["/etc/weir/weir.yaml"] = "version: 1\ninclude: conf.d/*.yaml\nlisteners: { name: a }\n";
  sources.files["/etc/weir/conf.d/1.yaml"] = "listeners: { name: b }\n";
  sources.files["/etc/weir/conf.d/2.yaml"] = "listeners: [ { name: c } ]\n";
  const Loaded loaded = load(sources);
  CHECK(loaded.said.empty());
  CHECK(write_flow(loaded.root) == "{ version: 1, listeners: [{ name: a }, { name: b }, { name: c }] }");
}

}  // namespace
}  // namespace weir::config
