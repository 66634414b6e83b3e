// A conversation of HTTP/2 that is cut at every byte, and ends there in every way, towards a server that answers at different times.
#include "tests/http/h2_world.h"

namespace weir {

namespace {

std::string conversation() {
  using namespace frames;
  const std::string seventh = block(request("POST", "/7", {{"content-length", "3"}}));
  return preface() + frame(settings, kAck, 0) + head(1, request("GET", "/1")) + frame(priority, 0, 3, number(1, 4) + "x") +
         head(3, request("POST", "/3"), false) + frame(data, kPadded, 3, '\x02' + std::string("hello ") + std::string(2, '\0')) +
         head(5, request("GET", "/5")) + frame(window_update, 0, 0, number(1000, 4)) + frame(data, 0, 3, "world") +
         head(3, {{"x-sum", "1"}}) + frame(headers, 0, 7, seventh.substr(0, 9)) + frame(continuation, kEndHeaders, 7, seventh.substr(9)) +
         frame(ping, 0, 0, "12345678") + reset(5) + frame(0xfa, 0, 0, "?") + frame(data, kEndStream, 7, "abc") +
         head(9, request("GET", "/9#bad"));
}

enum class Answers { at_once, after_the_body, in_part, never };
enum class Ends { goes_on, fin, reset, stalls };

void prepare(H2World& w, Answers answers) {
  w.script = [answers](TestExchange& e) {
    if (answers == Answers::at_once) return e.answer(200, e.line);
    if (answers == Answers::after_the_body && !e.body) return e.answer(200, e.line);
    if (answers == Answers::after_the_body)
      e.request.on_end = [&e] {
        if (e.stream != nullptr) e.answer(200, e.line);
      };
    if (answers == Answers::in_part) {
      e.begin(200);
      e.writer.write(as_bytes("part"));
    }
    e.request.attach(std::move(e.body));
  };
}

void end(H2World& w, SimPeer& client, Ends how) {
  if (how == Ends::fin) client.finish();
  if (how == Ends::reset) client.reset();
  w.run();
  if (how == Ends::stalls) w.advance(std::chrono::hours(2));
  w.run();
}

// Over: told once that it was sent, or why it was not.
void check_over(H2World& w, bool all) {
  for (const auto& e : w.exchanges) {
    CHECK_FALSE((e->sent && e->error >= 0));
    if (all) CHECK((e->sent || e->error >= 0));
  }
}

}  // namespace

TEST_CASE("h2: a conversation that is cut anywhere is the same conversation") {
  const std::string text = conversation();
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    CAPTURE(cut);
    H2World w;
    prepare(w, Answers::after_the_body);
    SimPeer client(w.net, w.at);
    client.send(text.substr(0, cut));
    w.run();
    client.send(text.substr(cut));
    w.run();
    REQUIRE(w.exchanges.size() == 5);
    CHECK(w.exchange(1).request.body == "hello world");
    CHECK(w.exchange(1).request.trailers == "x-sum=1 ");
    CHECK(w.exchange(3).request.body == "abc");
    CHECK(w.exchange(4).bad == "target-characters");
    for (const std::size_t whole : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{4}}) CHECK(w.exchange(whole).sent);
    CHECK((w.exchange(2).sent || is(w.exchange(2), StreamError::client_reset)));
    CHECK(frames::code_of(frames::parse(client.received()), frames::goaway) == -1);
    CHECK(w.connection().codec->idle());
  }
}

TEST_CASE("h2: a conversation that ends anywhere, in any way, ends every exchange once") {
  const std::string text = conversation();
  for (const Answers answers : {Answers::at_once, Answers::after_the_body, Answers::in_part, Answers::never}) {
    for (const Ends how : {Ends::fin, Ends::reset, Ends::stalls}) {
      CAPTURE(static_cast<int>(answers), static_cast<int>(how));
      for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        CAPTURE(cut);
        H2World w;
        prepare(w, answers);
        SimPeer client(w.net, w.at);
        client.send(text.substr(0, cut));
        w.run();
        end(w, client, how);
        if (how != Ends::stalls) {
          CHECK(w.connection().closed == 1);
          check_over(w, true);
        } else {
          check_over(w, answers == Answers::at_once);
        }
        client.close();
        w.run();
        CHECK(w.connection().closed == 1);
        check_over(w, true);
        w.exchanges.clear();
        w.loop.settle();
        CHECK(w.buffers.chunks_in_use() == 0);
      }
    }
  }
}

TEST_CASE("h2: a connection that is dropped, wherever its exchanges are, leaves nothing behind") {
  const std::string text = conversation();
  for (const Answers answers : {Answers::at_once, Answers::after_the_body, Answers::in_part, Answers::never}) {
    for (std::size_t cut = 18; cut <= text.size(); cut += 3) {
      CAPTURE(static_cast<int>(answers), cut);
      H2World w;
      prepare(w, answers);
      SimPeer client(w.net, w.at);
      client.send(text.substr(0, cut));
      w.run();
      for (const auto& e : w.exchanges) {
        if (e->stream != nullptr) std::exchange(e->stream, nullptr)->reset();
      }
      w.exchanges.clear();
      w.connections.clear();
      w.loop.settle();
      CHECK(w.arenas.in_use() == 0);
      CHECK(w.buffers.chunks_in_use() == 0);
    }
  }
}

}  // namespace weir
