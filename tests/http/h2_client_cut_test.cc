// A conversation with an HTTP/2 upstream that is cut at every byte, and ends there in every way.
#include "tests/http/h2_client_world.h"

namespace weir {

using namespace frames;

namespace {

// On four streams: an answer with trailers, a head alone, one that is refused, and one that is broken off after its head.
std::string conversation() {
  return frame(settings, 0, 0, number(3, 2) + number(50, 4)) + frame(settings, kAck, 0) + head(1, answer("103"), false) +
         head(1, answer("200", {{"x-a", "b"}}), false) + frame(ping, 0, 0, "12345678") + frame(data, 0, 1, "hello ") +
         head(3, answer("204")) + frame(rst_stream, 0, 5, number(7, 4)) + frame(data, 0, 1, "world") + head(7, answer(), false) +
         frame(window_update, 0, 0, number(1000, 4)) + frame(data, 0, 7, "part") + frame(rst_stream, 0, 7, number(2, 4)) +
         head(1, {{"x-sum", "1"}}) + head(9, answer("200", {{"content-length", "3"}}), false) + frame(data, kEndStream, 9, "abc");
}

void open_all(H2ClientWorld& w) {
  for (int i = 0; i < 4; ++i) w.get();
  TestCall& post = w.call("POST", "/");
  BodyPipe::Reader body = post.with_body(-1);
  w.open(post, std::move(body));
  post.writer.write(as_bytes("request"));
  post.writer.finish();
  w.run();
}

void check_whole(H2ClientWorld& w) {
  CHECK(w.calls[0]->informational == "103 ");
  CHECK(w.calls[0]->fields == "x-a=b ");
  CHECK(w.calls[0]->sink.body == "hello world");
  CHECK(w.calls[0]->sink.trailers == "x-sum=1 ");
  CHECK(told(*w.calls[0]) == "ended");
  CHECK(told(*w.calls[1]) == "ended");
  CHECK(told(*w.calls[2]) == "refused_stream");
  CHECK(told(*w.calls[3]) == "reset");
  CHECK(w.calls[3]->sink.aborted == BodyAbort::reset);
  CHECK(w.calls[4]->sink.body == "abc");
  CHECK(told(*w.calls[4]) == "ended");
}

}  // namespace

TEST_CASE("h2 client: a conversation that is cut anywhere is the same conversation") {
  const std::string text = conversation();
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    CAPTURE(cut);
    H2ClientWorld w;
    open_all(w);
    w.say(text.substr(0, cut));
    w.say(text.substr(cut));
    check_whole(w);
    CHECK(w.codec->room() == 50);
    CHECK(w.closed == 0);
    w.check_nothing_left();
  }
}

TEST_CASE("h2 client: a conversation in single bytes is the same conversation") {
  H2ClientWorld w;
  open_all(w);
  for (const char c : conversation()) w.say(std::string(1, c));
  check_whole(w);
}

TEST_CASE("h2 client: a conversation that ends anywhere, in any way, ends every request once") {
  enum class Ends { fin, reset, stalls };
  const std::string text = conversation();
  for (const Ends how : {Ends::fin, Ends::reset, Ends::stalls}) {
    CAPTURE(static_cast<int>(how));
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
      CAPTURE(cut);
      H2ClientWorld w;
      open_all(w);
      w.say(text.substr(0, cut));
      if (how == Ends::fin) w.upstream().finish();
      if (how == Ends::reset) w.upstream().reset();
      if (how == Ends::stalls) w.loop.advance(std::chrono::hours(1));
      w.run();
      for (const auto& call : w.calls) CHECK(call->ended + call->failed == 1);
      CHECK((w.closed == 1 || (how == Ends::stalls && cut == text.size())));
      w.check_nothing_left();
    }
  }
}

TEST_CASE("h2 client: requests that are dropped anywhere are silent, and leave nothing behind") {
  const std::string text = conversation();
  for (const bool codec_first : {true, false}) {
    for (std::size_t cut = 0; cut <= text.size(); cut += 3) {
      CAPTURE(codec_first, cut);
      H2ClientWorld w;
      open_all(w);
      w.say(text.substr(0, cut));
      std::vector<int> before;
      for (const auto& call : w.calls) before.push_back(call->ended + call->failed);
      if (codec_first) w.codec.reset();
      for (const auto& call : w.calls) call->stream.reset();
      if (!codec_first) w.say(text.substr(cut));
      w.run();
      for (std::size_t i = 0; i < before.size(); ++i) CHECK(w.calls[i]->ended + w.calls[i]->failed == before[i]);
      w.check_nothing_left();
    }
  }
}

}  // namespace weir
