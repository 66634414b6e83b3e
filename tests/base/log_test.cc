#include "proxy/base/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using namespace weir;

namespace {

struct Capture : LogSink {
  void write(std::string_view lines) override {
    const std::lock_guard<std::mutex> lock(mutex);
    got.emplace_back(lines);
  }
  std::mutex mutex;
  std::vector<std::string> got;
};

struct World {
  Capture sink;
  WallTime now{std::chrono::seconds(1767225600)};
  Log log{sink, [this] { return now; }};
  std::string last() { return sink.got.empty() ? "" : sink.got.back(); }
};

}  // namespace

TEST_CASE("a text line has time, level, message and fields") {
  World w;
  w.now += 1500ms;
  w.log.info("listening", {{"address", "127.0.0.1:80"}, {"workers", 4}, {"tls", false}, {"after", Duration(250ms)}});
  CHECK(w.last() == "2026-01-01T00:00:01.500Z info listening address=127.0.0.1:80 workers=4 tls=false after=0.25\n");
  w.log.error("odd values", {{"empty", ""}, {"spaced", "a b"}, {"quoted", "say \"x\""}, {"equals", "a=b"}});
  CHECK(w.last() == "2026-01-01T00:00:01.500Z error odd values empty=\"\" spaced=\"a b\" quoted=\"say \\\"x\\\"\" equals=\"a=b\"\n");
}

TEST_CASE("a JSON line is one object") {
  World w;
  w.log.set_json(true);
  w.log.warning(
      "reload refused",
      {{"file", "a\\b.yaml"}, {"errors", std::uint64_t{18446744073709551615U}}, {"least", INT64_MIN}, {"ratio", 0.5}, {"bad", 1.0 / 0.0}});
  CHECK(w.last() ==
        "{\"time\":\"2026-01-01T00:00:00.000Z\",\"level\":\"warning\",\"message\":\"reload refused\",\"file\":\"a\\\\b.yaml\","
        "\"errors\":18446744073709551615,\"least\":-9223372036854775808,\"ratio\":0.5,\"bad\":null}\n");
}

TEST_CASE("no input breaks out of its line, and JSON stays valid UTF-8") {
  World w;
  const std::string nasty = std::string("a\nb\r\t\x01\x7f") + "\xff\xc3(\xed\xa0\x80 \xc3\xa9 \xf0\x9f\x98\x80";
  for (const bool json : {false, true}) {
    w.log.set_json(json);
    w.log.info(nasty, {{"field", nasty}});
    const std::string line = w.last();
    CHECK(line.find('\n') == line.size() - 1);
    CHECK(line.find('\r') == std::string::npos);
    CHECK(line.find("a\\nb\\u000d\\t\\u0001\\u007f") != std::string::npos);
    CHECK(line.find('\xff') == std::string::npos);
    CHECK(line.find("\xed\xa0") == std::string::npos);  // a surrogate
    CHECK(line.find("\xc3\xa9 \xf0\x9f\x98\x80") != std::string::npos);
  }
}

TEST_CASE("long texts are cut") {
  World w;
  w.log.info("long", {{"text", std::string(100000, 'x')}});
  CHECK(w.last().size() < Log::kMaxText + 100);
  CHECK(w.last().find("x...\"\n") != std::string::npos);
}

TEST_CASE("levels below the set one are silent, and levels have names") {
  World w;
  w.log.debug("quiet");
  CHECK(w.sink.got.empty());
  w.log.set_level(LogLevel::debug);
  w.log.debug("loud");
  CHECK(w.sink.got.size() == 1);
  w.log.set_level(LogLevel::error);
  w.log.warning("quiet");
  CHECK(w.sink.got.size() == 1);
  for (const LogLevel level : {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error}) {
    CHECK(parse_log_level(log_level_name(level)) == level);
  }
  CHECK_FALSE(parse_log_level("loud"));
  CHECK_FALSE(parse_log_level(""));
}

TEST_CASE("one message is limited in rate; the next window says how many were left out") {
  World w;
  for (std::uint32_t i = 0; i < Log::kBurst + 5; ++i) w.log.info("again", {{"i", i}});
  CHECK(w.sink.got.size() == Log::kBurst);
  CHECK(w.log.left_out() == 5);
  w.log.info("another");
  w.log.error("again");  // another level is another message
  CHECK(w.sink.got.size() == Log::kBurst + 2);
  w.now += Log::kPer - 1ns;
  w.log.info("again");
  CHECK(w.sink.got.size() == Log::kBurst + 2);
  w.now += 1ns;
  w.log.info("again");
  CHECK(w.last().find("left_out=6\n") != std::string::npos);
  w.log.info("again");
  CHECK(w.last().find("left_out") == std::string::npos);
}

TEST_CASE("a flood of one message stays limited among many others") {
  World w;
  int commons = 0;
  for (int i = 0; i < 2000; ++i) {
    w.log.info("common");
    if (w.last().find("common") != std::string::npos) ++commons;
    w.log.info("message " + std::to_string(i));
  }
  CHECK(commons <= 3 * static_cast<int>(Log::kBurst));
}

TEST_CASE("a clock that is set back does not silence the log") {
  World w;
  for (int i = 0; i < 100; ++i) w.log.info("again");
  const auto before = w.sink.got.size();
  w.now -= 1h;
  w.log.info("again");
  CHECK(w.sink.got.size() == before + 1);
}

TEST_CASE("many different messages need no more memory, and are not limited by each other for long") {
  World w;
  for (int i = 0; i < 5000; ++i) w.log.info("message " + std::to_string(i));
  CHECK(w.sink.got.size() == 5000);
}

TEST_CASE("many threads write whole lines") {
  World w;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&w, t] {
      for (int i = 0; i < 200; ++i) {
        w.log.warning("common");
        w.log.info("of thread " + std::to_string(t), {{"i", i}});
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(w.sink.got.size() == 5 * Log::kBurst);
  for (const std::string& line : w.sink.got) CHECK(line.find('\n') == line.size() - 1);
  CHECK(w.log.left_out() == 8 * 200 - 5 * Log::kBurst);
}

TEST_CASE("a descriptor that takes nothing loses the line and counts it") {
  int ends[2];
  REQUIRE(pipe2(ends, O_NONBLOCK) == 0);
  DescriptorLogSink sink(ends[1]);
  sink.write("hello\n");
  char buffer[16];
  CHECK(read(ends[0], buffer, sizeof buffer) == 6);
  CHECK(sink.lost() == 0);
  for (int i = 0; i < 3000; ++i) sink.write(std::string(100, 'x') + "\n");
  CHECK(sink.lost() > 0);
  close(ends[0]);
  close(ends[1]);
}

TEST_CASE("times are written in UTC with milliseconds") {
  CHECK(format_time(WallTime{}) == "1970-01-01T00:00:00.000Z");
  CHECK(format_time(WallTime{std::chrono::seconds(1709251199) + 999ms + 999us}) == "2024-02-29T23:59:59.999Z");
}
