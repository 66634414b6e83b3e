#include "proxy/runtime/inotify_watcher.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/runtime/libevent_loop.h"

namespace weir {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/weir-watch-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  std::string operator/(const std::string& name) const { return path + "/" + name; }
  std::string path;
};

void write(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::trunc) << text; }

// Does one step after the other on the loop, and notes those that were not told of, or were although nothing had happened.
class Script {
 public:
  struct Step {
    std::string what;
    std::function<void()> act;
    bool told = true;
  };
  static constexpr Duration kTick = std::chrono::milliseconds(10);
  static constexpr int kPatience = 300, kSilence = 15;  // ticks

  Script(RealLoop& loop, std::vector<Step> steps) : loop_(loop), steps_(std::move(steps)), timer_(loop, Callback::to<&Script::tick>(this)) {
    timer_.arm(kTick);
  }
  void on_change() {
    ++told;
    if (when_told) when_told();
  }
  Callback changed() { return Callback::to<&Script::on_change>(this); }

  int told = 0;
  std::function<void()> when_told;
  std::vector<std::string> wrong;

 private:
  void tick() {
    timer_.arm(kTick);
    if (waited_ < 0) {
      if (at_ == steps_.size()) return loop_.stop();
      told_before_ = told;
      steps_[at_].act();
    }
    ++waited_;
    const bool was_told = told > told_before_;
    if (last_told_ != told) settled_ = 0;
    last_told_ = told;
    ++settled_;
    const bool over = steps_[at_].told ? (was_told && settled_ > 4) || waited_ >= kPatience : waited_ >= kSilence;
    if (!over) return;
    if (was_told != steps_[at_].told) wrong.push_back(steps_[at_].what);
    ++at_;
    waited_ = -1;
  }

  RealLoop& loop_;
  std::vector<Step> steps_;
  std::size_t at_ = 0;
  int waited_ = -1, settled_ = 0, told_before_ = 0, last_told_ = 0;
  Timer timer_;
};

void run(const std::string& path, std::vector<Script::Step> steps, InotifyWatcher::Options options = {}) {
  auto loop = make_libevent_loop();
  InotifyWatcher watcher(*loop, options);
  Script script(*loop, std::move(steps));
  auto watch = watcher.watch(path, script.changed());
  CHECK(script.told == 0);
  CHECK(watcher.looked_at() == (options.use_inotify ? 0 : 1));
  loop->run();
  CHECK(script.wrong == std::vector<std::string>{});
  watch.reset();
  CHECK(watcher.kernel_watches() == 0);
}

}  // namespace

TEST_CASE("a watched file is told of however editors write it, and its neighbours are not") {
  const Folder dir;
  const std::string file = dir / "weir.yaml";
  write(file, "a");
  run(file, {
                {"another file", [&] { write(dir / "other", "x"); }, false},
                {"in place", [&] { write(file, "b"); }},
                {"renamed over, as sed -i does", [&] { write(dir / ".tmp", "c"), fs::rename(dir / ".tmp", file); }},
                {"written again after it was replaced", [&] { write(file, "d"); }},
                {"moved away and written anew, as vim does", [&] { fs::rename(file, dir / "weir.yaml~"), write(file, "e"); }},
                {"the old one, which vim keeps", [&] { write(dir / "weir.yaml~", "z"); }, false},
                {"removed", [&] { fs::remove(file); }},
                {"there again", [&] { write(file, "f"); }},
                {"and written", [&] { write(file, "g"); }},
            });
}

TEST_CASE("a ConfigMap's swap is told of, and so is the next one") {
  const Folder dir;
  const auto version = [&](const std::string& name, const std::string& text) {
    fs::create_directory(dir / name);
    write(dir / name + "/weir.yaml", text);
  };
  const auto swap = [&](const std::string& name) {
    fs::create_symlink(name, dir / "..data_tmp");
    fs::rename(dir / "..data_tmp", dir / "..data");
  };
  version("..2026_1", "a");
  swap("..2026_1");
  fs::create_symlink("..data/weir.yaml", dir / "weir.yaml");
  run(dir / "weir.yaml", {
                             {"another version beside it", [&] { version("..2026_2", "b"); }, false},
                             {"the swap", [&] { swap("..2026_2"); }},
                             {"the old version removed", [&] { fs::remove_all(dir / "..2026_1"); }, false},
                             {"the next swap", [&] { version("..2026_3", "c"), swap("..2026_3"); }},
                             {"written through the links", [&] { write(dir / "..2026_3/weir.yaml", "d"); }},
                         });
}

TEST_CASE("a path whose folders do not exist yet is told of once they do, and when they go and return") {
  const Folder dir;
  const std::string file = dir / "a/b/weir.yaml";
  run(file, {
                {"the first folder", [&] { fs::create_directory(dir / "a"); }},
                {"all of it", [&] { fs::create_directory(dir / "a/b"), write(file, "a"); }},
                {"written", [&] { write(file, "b"); }},
                {"the folder moved away", [&] { fs::rename(dir / "a", dir / "c"); }},
                {"written where it is now", [&] { write(dir / "c/b/weir.yaml", "c"); }, false},
                {"and back", [&] { fs::rename(dir / "c", dir / "a"); }},
                {"written again", [&] { write(file, "d"); }},
            });
}

TEST_CASE("a watched folder is told of names that come and go") {
  const Folder dir;
  fs::create_directory(dir / "conf.d");
  run(dir / "conf.d", {
                          {"a new one", [&] { write(dir / "conf.d/a.yaml", "a"); }},
                          {"removed", [&] { fs::remove(dir / "conf.d/a.yaml"); }},
                          {"beside it", [&] { write(dir / "a.yaml", "a"); }, false},
                      });
}

TEST_CASE("without inotify changes are seen by looking") {
  const Folder dir;
  const std::string file = dir / "weir.yaml";
  write(file, "a");
  run(file,
      {
          {"in place", [&] { write(file, "longer"); }},
          {"renamed over", [&] { write(dir / ".tmp", "c"), fs::rename(dir / ".tmp", file); }},
          {"removed", [&] { fs::remove(file); }},
          {"there again", [&] { write(file, "f"); }},
      },
      {.use_inotify = false});
}

TEST_CASE("links in a circle are looked at, not followed for ever") {
  const Folder dir;
  fs::create_symlink("b", dir / "a");
  fs::create_symlink("a", dir / "b");
  auto loop = make_libevent_loop();
  InotifyWatcher watcher(*loop);
  Script script(*loop, {{"the circle is broken", [&] { fs::remove(dir / "b"), write(dir / "b", "x"); }}});
  auto watch = watcher.watch(dir / "a", script.changed());
  CHECK(watcher.looked_at() == 1);
  loop->run();
  CHECK(script.wrong == std::vector<std::string>{});
  CHECK(watcher.looked_at() == 0);  // it is an ordinary path now
}

TEST_CASE("two watches of one path are independent, and one may be dropped while it is told") {
  const Folder dir;
  const std::string file = dir / "weir.yaml";
  write(file, "a");
  auto loop = make_libevent_loop();
  InotifyWatcher watcher(*loop);
  int second = 0;
  std::unique_ptr<FileWatch> one, other;
  Script script(*loop, {{"both", [&] { write(file, "b"); }}, {"the other alone", [&] { write(file, "c"); }, false}});
  script.when_told = [&] { one.reset(); };
  one = watcher.watch(file, script.changed());
  other = watcher.watch(file, Callback([](void* count) { ++*static_cast<int*>(count); }, &second));
  loop->run();
  CHECK(script.wrong == std::vector<std::string>{});
  CHECK(script.told == 1);
  CHECK(second >= 2);
}

}  // namespace weir
