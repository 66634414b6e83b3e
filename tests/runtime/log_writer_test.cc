#include "proxy/runtime/log_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>
#include <vector>

using namespace weir;

namespace {

constexpr Duration kLong = std::chrono::seconds(30);  // how long a test waits for what must come

struct Folder {
  Folder() {
    char name[] = "/tmp/weir-log-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path = name;
  }
  ~Folder() {
    for (const char* file : {"/access.log", "/access.log.1", "/other"}) unlink((path + file).c_str());
    rmdir(path.c_str());
  }
  std::string log() const { return path + "/access.log"; }
  std::string read(const std::string& name = "/access.log") const {
    std::ifstream file(path + name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::string path;
};

// A write(2) that a test holds up, fails or shortens.
struct Disk {
  ssize_t write(int descriptor, const void* data, std::size_t size) {
    std::unique_lock<std::mutex> lock(mutex);
    ++calls;
    changed.notify_all();
    changed.wait(lock, [&] { return !held; });
    if (error != 0 && good_calls == 0) {
      errno = error;
      return -1;
    }
    if (good_calls > 0) --good_calls;
    return ::write(descriptor, data, std::min(size, at_most));
  }
  void set(int new_error, bool new_held, std::size_t new_at_most = SIZE_MAX) {
    const std::lock_guard<std::mutex> lock(mutex);
    error = new_error;
    held = new_held;
    at_most = new_at_most;
    changed.notify_all();
  }
  void await_more(int count) {
    std::unique_lock<std::mutex> lock(mutex);
    count += calls;
    REQUIRE(changed.wait_for(lock, kLong, [&] { return calls >= count; }));
  }
  void await_calls(int count) {
    std::unique_lock<std::mutex> lock(mutex);
    REQUIRE(changed.wait_for(lock, kLong, [&] { return calls >= count; }));
  }
  LogWriter::Options options() {
    LogWriter::Options made;
    made.retry_after = std::chrono::milliseconds(1);
    made.write_call = [this](int descriptor, const void* data, std::size_t size) { return write(descriptor, data, size); };
    return made;
  }
  std::mutex mutex;
  std::condition_variable changed;
  int calls = 0;
  int error = 0;
  int good_calls = 0;  // before the error
  bool held = false;
  std::size_t at_most = SIZE_MAX;
};

std::unique_ptr<LogWriter> open(const std::string& path, LogWriter::Options options = {}) {
  auto result = LogWriter::open(path, std::move(options));
  REQUIRE(result.ok());
  return std::move(result).value();
}

}  // namespace

TEST_CASE("what is written arrives in the file, in order, after what stood there") {
  Folder folder;
  std::ofstream(folder.log()) << "old\n";
  auto writer = open(folder.log());
  writer->write("one\n");
  writer->write("two\nthree\n");
  writer->write("");
  REQUIRE(writer->flush(kLong));
  CHECK(folder.read() == "old\none\ntwo\nthree\n");
  const auto counts = writer->counts();
  CHECK(counts.written_bytes == 14);
  CHECK(counts.queued_bytes == 0);
  CHECK(counts.dropped_lines == 0);
  CHECK(counts.last_error == 0);
}

TEST_CASE("stop writes what is queued; what comes later is dropped and counted") {
  Folder folder;
  auto writer = open(folder.log());
  std::string all;
  for (int i = 0; i < 1000; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    writer->write(line);
    all += line;
  }
  CHECK(writer->stop(kLong));
  CHECK(writer->stop(kLong));
  CHECK(folder.read() == all);
  writer->write("late\nlater\n");
  CHECK(writer->counts().dropped_lines == 2);
  CHECK(folder.read() == all);
}

TEST_CASE("a file that cannot be opened is an error that names it") {
  const auto result = LogWriter::open("/nowhere/at/all.log");
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code == ENOENT);
  CHECK(result.error().message.find("/nowhere/at/all.log") != std::string::npos);
}

TEST_CASE("a full queue drops whole blocks, counts their lines and blocks nobody") {
  Folder folder;
  Disk disk;
  disk.held = true;
  auto options = disk.options();
  options.queue_limit = 10;
  auto writer = open(folder.log(), options);
  writer->write("first\n");
  disk.await_calls(1);  // the thread has taken it and hangs
  writer->write("12345\n");
  writer->write("1\n2\n3\n");
  writer->write("789\n");  // just fits
  CHECK(writer->counts().dropped_lines == 3);
  CHECK(writer->counts().queued_bytes == 10);
  CHECK_FALSE(writer->flush(Duration(1ms)));
  disk.set(0, false);
  REQUIRE(writer->flush(kLong));
  CHECK(folder.read() == "first\n12345\n789\n");
}

TEST_CASE("a full disk is counted and tried again until it is not full any more") {
  Folder folder;
  Disk disk;
  disk.error = ENOSPC;
  auto writer = open(folder.log(), disk.options());
  writer->write("kept\n");
  disk.await_calls(3);
  CHECK(writer->counts().write_errors >= 2);
  CHECK(writer->counts().last_error == ENOSPC);
  CHECK_FALSE(writer->flush(Duration(1ms)));
  disk.set(0, false);
  REQUIRE(writer->flush(kLong));
  CHECK(folder.read() == "kept\n");
  CHECK(writer->counts().last_error == 0);
}

TEST_CASE("short and interrupted writes go on where they stopped") {
  Folder folder;
  Disk disk;
  disk.at_most = 3;
  auto writer = open(folder.log(), disk.options());
  writer->write("a long line of text\nand another\n");
  REQUIRE(writer->flush(kLong));
  CHECK(folder.read() == "a long line of text\nand another\n");
  disk.set(EINTR, false);
  writer->write("more\n");
  disk.await_more(3);
  disk.set(0, false);
  REQUIRE(writer->flush(kLong));
  CHECK(folder.read() == "a long line of text\nand another\nmore\n");
  CHECK(writer->counts().write_errors == 0);
}

TEST_CASE("the real full device") {
  if (access("/dev/full", W_OK) != 0) return;
  LogWriter::Options options;
  options.retry_after = std::chrono::milliseconds(1);
  auto writer = open("/dev/full", options);
  writer->write("nowhere to go\n");
  CHECK_FALSE(writer->stop(Duration(20ms)));
  CHECK(writer->counts().dropped_lines == 1);
  CHECK(writer->counts().write_errors >= 1);
}

TEST_CASE("reopening follows a rotation") {
  Folder folder;
  auto writer = open(folder.log());
  writer->write("before\n");
  REQUIRE(writer->flush(kLong));
  REQUIRE(std::rename(folder.log().c_str(), (folder.path + "/access.log.1").c_str()) == 0);
  writer->write("between\n");
  REQUIRE(writer->flush(kLong));
  writer->reopen();
  REQUIRE(writer->flush(kLong));
  writer->write("after\n");
  REQUIRE(writer->flush(kLong));
  CHECK(folder.read("/access.log.1") == "before\nbetween\n");
  CHECK(folder.read() == "after\n");
  CHECK(writer->counts().reopened == 1);
}

TEST_CASE("a failed reopening keeps the old file") {
  Folder folder;
  auto writer = open(folder.log());
  REQUIRE(std::rename(folder.log().c_str(), (folder.path + "/access.log.1").c_str()) == 0);
  REQUIRE(mkdir(folder.log().c_str(), 0700) == 0);
  writer->reopen();
  writer->write("still here\n");
  REQUIRE(writer->flush(kLong));
  CHECK(folder.read("/access.log.1") == "still here\n");
  CHECK(writer->counts().write_errors == 1);
  CHECK(writer->counts().reopened == 0);
  rmdir(folder.log().c_str());
}

TEST_CASE("reopening while the disk is full leaves the rest of a line behind, and goes on with the next") {
  struct Case {
    int good_calls;
    std::size_t at_most;
    std::string old_file, new_file;
    std::uint64_t dropped;
  };
  const auto what = GENERATE(Case{1, 4, "abcd", "second\n", 1}, Case{3, 4, "abcdefgh\nsec", "", 1}, Case{1, 9, "abcdefgh\n", "second\n", 0},
                             Case{0, 4, "", "abcdefgh\nsecond\n", 0});
  Folder folder;
  Disk disk;
  disk.error = ENOSPC;
  disk.good_calls = what.good_calls;
  disk.at_most = what.at_most;
  auto writer = open(folder.log(), disk.options());
  writer->write("abcdefgh\nsecond\n");
  disk.await_calls(what.good_calls + 2);
  REQUIRE(std::rename(folder.log().c_str(), (folder.path + "/access.log.1").c_str()) == 0);
  writer->reopen();
  disk.await_more(what.new_file.empty() ? 0 : 2);
  disk.set(0, false);
  REQUIRE(writer->flush(kLong));
  CHECK(folder.read("/access.log.1") == what.old_file);
  CHECK(folder.read() == what.new_file);
  CHECK(writer->counts().dropped_lines == what.dropped);
  CHECK(writer->counts().reopened == 1);
}

TEST_CASE("reopening the same file while the disk is full goes on with the line") {
  Folder folder;
  Disk disk;
  disk.error = ENOSPC;
  disk.good_calls = 1;
  disk.at_most = 4;
  auto writer = open(folder.log(), disk.options());
  writer->write("abcdefgh\nsecond\n");
  disk.await_calls(3);
  writer->reopen();
  disk.await_more(2);
  disk.set(0, false);
  REQUIRE(writer->flush(kLong));
  CHECK(folder.read() == "abcdefgh\nsecond\n");
  CHECK(writer->counts().dropped_lines == 0);
  CHECK(writer->counts().reopened == 1);
}

TEST_CASE("a writer that is retired writes what it has and ends by itself; where it cannot, it gives up after a while") {
  Folder folder;
  Disk disk;
  LogWriter::Options options = disk.options();
  const bool full = GENERATE(false, true);
  if (full) disk.error = ENOSPC;
  options.retry_after = LogWriter::kStopWithin / 4;
  if (!full) disk.held = true;
  auto writer = open(folder.log(), options);
  writer->write("first\n");
  disk.await_calls(1);
  writer->write("second\n");
  writer->retire();  // does not wait
  writer->write("too late\n");
  disk.set(full ? ENOSPC : 0, false);
  CHECK(writer->flush(kLong) == !full);
  if (full) REQUIRE(writer->ended());
  CHECK(writer->stop(kLong) == !full);
  CHECK(writer->ended());
  CHECK(folder.read() == (full ? "" : "first\nsecond\n"));
  CHECK(writer->counts().dropped_lines == (full ? 3 : 1));
}

TEST_CASE("a thread that hangs in the kernel is left behind at stop") {
  Folder folder;
  auto disk = std::make_shared<Disk>();
  disk->held = true;
  LogWriter::Options options;
  options.write_call = [disk](int descriptor, const void* data, std::size_t size) { return disk->write(descriptor, data, size); };
  auto writer = open(folder.log(), options);
  writer->write("hangs\n");
  disk->await_calls(1);
  writer->write("waits\nbehind it\n");
  CHECK_FALSE(writer->stop(Duration(1ms)));
  CHECK(writer->counts().dropped_lines == 2);
  writer.reset();
  disk->set(EIO, false);  // it comes back, and ends without its writer
}

TEST_CASE("many threads, reopenings and counts at once: no line is torn or lost") {
  Folder folder;
  auto writer = open(folder.log());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        writer->write("thread " + std::to_string(t) + " line " + std::to_string(i) + "\n");
        if (i % 100 == 0) writer->reopen();
        if (i % 50 == 0) static_cast<void>(writer->counts());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  REQUIRE(writer->stop(kLong));
  std::istringstream text(folder.read());
  std::string line;
  int next[4] = {};
  int lines = 0;
  while (std::getline(text, line)) {
    int t = -1, i = -1;
    REQUIRE(std::sscanf(line.c_str(), "thread %d line %d", &t, &i) == 2);
    REQUIRE(next[t]++ == i);
    ++lines;
  }
  CHECK(lines == 2000);
}

TEST_CASE("standard output can be a log") {
  auto writer = open("/dev/stdout");
  writer->reopen();
  CHECK(writer->flush(kLong));
  CHECK(writer->counts().reopened == 1);
}
