// The watch by itself: what it says does not depend on how bytes are cut, and it counts nothing twice.
#include "proxy/http/h2_frame_watch.h"

#include <catch2/catch.hpp>

#include "tests/http/h2_world.h"

namespace weir {

using namespace frames;

namespace {

struct Verdict {
  std::size_t used = 0;
  std::string rule;
  int error = 0;
  bool operator==(const Verdict& other) const { return used == other.used && rule == other.rule && error == other.error; }
};

// In pieces of that size; `fresh` gives each piece a turn of its own.
Verdict look(const std::string& text, std::size_t piece, bool fresh = true) {
  Http2FrameWatch watch(HttpLimits{}, MonotonicTime{});
  Verdict verdict;
  while (verdict.used < text.size()) {
    if (fresh) watch.begin_turn();
    const std::string_view part = std::string_view(text).substr(verdict.used, piece);
    const std::size_t n = watch.look(as_bytes(part), MonotonicTime{});
    verdict.used += n;
    if (watch.broken() != nullptr) {
      verdict.rule = watch.broken()->name;
      verdict.error = static_cast<int>(watch.error());
      break;
    }
    if (n < part.size() && !fresh) break;
  }
  return verdict;
}

std::string conversation() {
  return preface() + head(1, request()) + head(3, request("POST"), false) + frame(data, kPadded, 3, std::string("\x02xyz\0\0", 6)) +
         frame(priority, 0, 9, number(3, 4) + "\x01") + frame(ping, 0, 0, "12345678") + frame(data, kEndStream, 3, std::string(3000, 'd')) +
         frame(headers, kEndStream, 5, block(request())) + frame(continuation, 0, 5) + frame(continuation, kEndHeaders, 5) + reset(5);
}

}  // namespace

TEST_CASE("h2 frame watch: the same whatever the pieces") {
  const std::string tails[] = {"",
                               frame(data, 0, 1, "x"),
                               head(3, {{"x", "y"}}),
                               frame(priority, 0, 7, number(7, 4) + "x"),
                               head(11, request()) + head(7, request()),
                               frame(priority, 0, 0, number(7, 4) + "x")};
  const int errors[] = {0, 5, 5, 1, 1, 1};
  for (std::size_t i = 0; i < std::size(tails); ++i) {
    CAPTURE(i);
    const std::string text = conversation() + tails[i];
    const Verdict whole = look(text, text.size());
    CHECK(whole.error == errors[i]);
    for (std::size_t piece = 1; piece < 40; ++piece) {
      const Verdict cut = look(text, piece);
      CHECK(cut.rule == whole.rule);
      CHECK(cut.error == whole.error);
      CHECK(cut.used >= whole.used);  // part of the frame may have been let through
      CHECK(cut.used <= whole.used + 14);
    }
  }
}

TEST_CASE("h2 frame watch: a turn has a share, and stops before a frame, never within one") {
  const std::string one = head(1, request());
  std::string text = preface();
  for (std::uint32_t i = 0; i < 100; ++i) text += head(2 * i + 1, request("GET", "/"));
  const std::size_t size = head(1, request("GET", "/")).size();
  const Verdict stopped = look(text, text.size(), false);
  CHECK(stopped.rule.empty());
  const std::size_t taken = (stopped.used - preface().size()) / size;
  CHECK((stopped.used - preface().size()) % size == 0);
  CHECK(taken == 60);  // 17 each, and 5 for SETTINGS
  CHECK(look(text, text.size()).used == text.size());
}

TEST_CASE("h2 frame watch: it remembers the last streams that were ended, and takes no others for them") {
  Http2FrameWatch watch(HttpLimits{}, MonotonicTime{});
  std::string text = preface();
  for (std::uint32_t i = 0; i < 40; ++i) text += head(2 * i + 1, request());
  watch.look(as_bytes(text), MonotonicTime{});
  watch.begin_turn();
  watch.look(as_bytes(frame(data, 0, 15, "x")), MonotonicTime{});  // the 33rd from the end: forgotten
  CHECK(watch.broken() == nullptr);
  watch.look(as_bytes(head(81, request("POST"), false) + frame(data, 0, 81, "x") + head(81, {{"x", "y"}}, false)), MonotonicTime{});
  CHECK(watch.broken() == nullptr);
  watch.look(as_bytes(frame(data, 0, 79, "x")), MonotonicTime{});
  REQUIRE(watch.broken() != nullptr);
  CHECK(watch.error() == Http2Error::stream_closed);
}

TEST_CASE("h2 floods: an allowance is exact, refills by time up to its burst, and is saved up by work") {
  using namespace std::chrono_literals;
  MonotonicTime now{};
  Http2Floods floods(7, now);
  const auto borne = [&](Http2Flood kind) {
    int count = 0;
    while (count < 200'000 && floods.bear(kind, now)) ++count;
    return count;
  };
  CHECK(borne(Http2Flood::resets) == 70);
  now += 1s;
  CHECK(borne(Http2Flood::resets) == 7);
  now += 500ms;
  CHECK(borne(Http2Flood::resets) == 3);
  now += 500ms;
  CHECK(borne(Http2Flood::resets) == 4);  // the half of before was not lost
  now += 1000h;
  CHECK(borne(Http2Flood::resets) == 70);
  floods.on_served();
  floods.on_late_reset();
  CHECK(borne(Http2Flood::resets) == 2);
  CHECK(borne(Http2Flood::window_updates) == 1000);
  floods.on_request();
  floods.on_data();
  CHECK(borne(Http2Flood::window_updates) == 25);
  for (int i = 0; i < 100'000; ++i) floods.on_data();
  CHECK(borne(Http2Flood::window_updates) == 100'000);  // at most a hundred bursts
  CHECK(borne(Http2Flood::headers) == 0);
}

}  // namespace weir
