#include "tests/cut/conversations.h"

#include <cstdio>

namespace weir::test {
namespace {

using When = Step::When;

std::string pattern(std::string_view start, std::size_t size) {
  std::string text(start);
  while (text.size() < size) text += static_cast<char>('a' + (text.size() * 7) % 23);
  return text;
}

std::string chunks(std::string_view body, std::size_t each, std::string_view trailer_lines) {
  std::string text;
  char line[24];
  for (std::size_t at = 0; at < body.size(); at += each) {
    const std::string_view part = body.substr(at, each);
    std::snprintf(line, sizeof line, "%zx\r\n", part.size());
    text += line;
    text += part;
    text += "\r\n";
  }
  return text + "0\r\n" + std::string(trailer_lines) + "\r\n";
}

Reply reply(int status, std::string body, std::string_view fields = "") {
  Reply out;
  out.status = status;
  out.bytes = "HTTP/1.1 " + std::to_string(status) + " S\r\n" + std::string(fields) + "Content-Length: " + std::to_string(body.size()) +
              "\r\n\r\n" + body;
  out.body = std::move(body);
  return out;
}

Reply bodiless(int status, std::string_view fields = "") {
  Reply out;
  out.status = status;
  out.bytes = "HTTP/1.1 " + std::to_string(status) + " S\r\n" + std::string(fields) + "\r\n";
  return out;
}

Reply chunked(int status, std::string body, bool with_trailer = false, std::size_t each = 5) {
  Reply out;
  out.status = status;
  out.chunked = true;
  if (with_trailer) out.trailers = "x-sum=7 ";
  out.bytes = "HTTP/1.1 " + std::to_string(status) + " S\r\nTransfer-Encoding: chunked\r\n\r\n" +
              chunks(body, each, with_trailer ? "X-Sum: 7\r\n" : "");
  out.body = std::move(body);
  return out;
}

Reply until_close(std::string body) {
  Reply out;
  out.bytes = "HTTP/1.0 200 S\r\n\r\n" + body;
  out.body = std::move(body);
  out.chunked = true;  // towards HTTP/1.1
  out.until_close = true;
  out.fin = true;
  return out;
}

Reply informed(Reply out, std::string_view interim) {
  out.bytes = std::string(interim) + out.bytes;
  return out;
}

Reply at_head(Reply out) {
  out.at_head = true;
  return out;
}

Reply slowly(Reply out, std::size_t first, Duration gap = 100ms) {
  out.first = first;
  out.gap = gap;
  return out;
}

Ask ask(std::string method, std::string target, std::vector<Reply> replies, std::string_view fields = "",
        std::string_view version = "HTTP/1.1") {
  Ask out;
  out.bytes = method + " " + target + " " + std::string(version) + "\r\nHost: h\r\n" + std::string(fields) + "\r\n";
  out.method = std::move(method);
  out.target = std::move(target);
  out.replies = std::move(replies);
  return out;
}

Ask with_length(std::string method, std::string target, std::string body, std::vector<Reply> replies, std::string fields = "") {
  Ask out =
      ask(std::move(method), std::move(target), std::move(replies), fields + "Content-Length: " + std::to_string(body.size()) + "\r\n");
  out.bytes += body;
  out.body = std::move(body);
  return out;
}

Ask in_chunks(std::string method, std::string target, std::string body, std::vector<Reply> replies, bool with_trailer = false,
              std::size_t each = 6) {
  Ask out = ask(std::move(method), std::move(target), std::move(replies), "Transfer-Encoding: chunked\r\n");
  if (with_trailer) out.trailers = "x-check=1 ";
  out.bytes += chunks(body, each, with_trailer ? "X-Check: 1\r\n" : "");
  out.body = std::move(body);
  out.chunked = true;
  return out;
}

// Each request when the one before is answered.
Conversation in_turn(std::string name, std::vector<Ask> asks) {
  Conversation out;
  out.name = std::move(name);
  for (std::size_t i = 0; i < asks.size(); ++i) out.steps.push_back({i == 0 ? When::at_once : When::answers, i, asks[i].bytes});
  out.asks = std::move(asks);
  return out;
}

Conversation at_once(std::string name, std::vector<Ask> asks) {
  Conversation out;
  out.name = std::move(name);
  out.steps.push_back({});
  for (const Ask& one : asks) out.steps[0].bytes += one.bytes;
  out.asks = std::move(asks);
  return out;
}

// The first request in two parts: the second when `when` holds. Further requests in turn.
Conversation in_parts(std::string name, std::vector<Ask> asks, std::size_t first, When when) {
  Conversation out = in_turn(std::move(name), std::move(asks));
  const std::string bytes = out.steps[0].bytes;
  out.steps[0].bytes = bytes.substr(0, first);
  out.steps.insert(out.steps.begin() + 1, Step{when, 1, bytes.substr(first)});
  return out;
}

Conversation reconnecting(Conversation out) {
  out.reconnects = true;
  return out;
}

Conversation strided(Conversation out, std::size_t stride) {
  out.stride = stride;
  return out;
}

std::vector<Conversation> small_ones() {
  std::vector<Conversation> all;
  all.push_back(in_turn("get", {ask("GET", "/a", {reply(200, "hello world")})}));
  all.push_back(
      in_turn("head, then get", {ask("HEAD", "/a", {bodiless(200, "Content-Length: 11\r\n")}), ask("GET", "/b", {reply(200, "b")})}));
  all.push_back(in_turn("post with a length", {with_length("POST", "/p", pattern("body ", 24), {reply(200, "posted")})}));
  all.push_back(
      in_turn("post of nothing", {with_length("POST", "/n", "", {reply(201, "")}), in_chunks("POST", "/m", "", {reply(200, "m")})}));
  all.push_back(in_turn("chunked with trailers both ways",
                        {in_chunks("PUT", "/t", pattern("up ", 20), {chunked(200, pattern("down ", 17), true)}, true)}));
  all.push_back(in_turn(
      "1xx before the answer",
      {ask("GET", "/i", {slowly(informed(reply(200, "late"), "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 102 P\r\n\r\n"), 37)})}));
  all.push_back(at_once("pipelined", {ask("GET", "/1", {reply(200, "one")}), with_length("POST", "/2", "second", {reply(200, "two")}),
                                      in_chunks("POST", "/3", "third", {chunked(200, "three")}), ask("GET", "/4", {reply(200, "four")})}));
  all.push_back(in_turn("close-delimited", {ask("GET", "/c", {until_close(pattern("close ", 19))})}));
  all.push_back(
      in_turn("keep-alive reuse", {ask("GET", "/1", {reply(200, "one")}), with_length("POST", "/2", "second", {reply(200, "two")}),
                                   ask("GET", "/3", {chunked(200, "three", true)})}));
  all.push_back(
      in_turn("204 and 304", {ask("GET", "/1", {bodiless(204)}), ask("GET", "/2", {bodiless(304, "ETag: \"x\"\r\nContent-Length: 9\r\n")}),
                              ask("DELETE", "/3", {reply(200, "gone")})}));
  all.push_back(in_turn("http/1.0", {ask("GET", "/old", {chunked(200, pattern("old ", 18))}, "", "HTTP/1.0")}));
  all.push_back(in_turn("http/1.0 kept alive", {ask("GET", "/1", {reply(200, "one")}, "Connection: keep-alive\r\n", "HTTP/1.0"),
                                                ask("GET", "/2", {reply(200, "two")}, "", "HTTP/1.0")}));
  all.push_back(in_turn("client says close", {ask("GET", "/x", {chunked(200, "last")}, "Connection: close\r\n")}));
  all.push_back(reconnecting(in_turn("upstream closes behind its answer", {ask("GET", "/1", {[] {
                                                                                 Reply out = reply(200, "one", "Connection: close\r\n");
                                                                                 out.fin = true;
                                                                                 return out;
                                                                               }()}),
                                                                           ask("GET", "/2", {reply(200, "two")})})));
  all.push_back(in_turn("slow answer", {ask("GET", "/s", {slowly(chunked(200, pattern("slow ", 20)), 62)})}));
  return all;
}

void add_bodies(std::vector<Conversation>& all) {
  Ask expecting = with_length("POST", "/e", pattern("expected ", 20), {reply(200, "had it")}, "Expect: 100-continue\r\n");
  const std::size_t head = expecting.bytes.size() - expecting.body.size();
  all.push_back(in_parts("expect 100-continue", {expecting, ask("GET", "/after", {reply(200, "after")})}, head, When::informational));
  Ask early = with_length("POST", "/early", pattern("unwanted ", 30), {at_head(reply(413, "too much"))});
  const std::size_t half = early.bytes.size() - 15;
  all.push_back(reconnecting(
      in_parts("early answer, the rest of the body after it", {early, ask("GET", "/after", {reply(200, "after")})}, half, When::answers)));
  Ask stream = in_chunks("POST", "/stream", pattern("both ", 30), {slowly(at_head(chunked(200, pattern("ways ", 30), true)), 70)}, true);
  all.push_back(
      in_parts("both bodies at once", {stream, ask("GET", "/after", {reply(200, "after")})}, stream.bytes.size() - 20, When::heads));
  all.push_back(in_turn("retry with replay", {with_length("PUT", "/r", pattern("again ", 22), {reply(503, "busy"), reply(200, "at last")}),
                                              ask("GET", "/after", {reply(200, "after")})}));
  all.push_back(in_turn("retry with chunks and trailers",
                        {in_chunks("PUT", "/r", pattern("again ", 22), {chunked(503, "busy busy"), chunked(200, "at last", true)}, true)}));
  all.push_back(in_turn("retries that all fail", {ask("GET", "/f", {reply(503, "no 1"), reply(502, "no 2"), reply(504, "no 3")})}));
  Conversation queued = in_turn("waits in the queue", {with_length("PUT", "/q", pattern("queued ", 16), {reply(200, "my turn")}),
                                                       ask("GET", "/after", {reply(200, "after")})});
  queued.queued = true;
  all.push_back(queued);
  all.push_back(strided(
      in_turn("large bodies", {with_length("PUT", "/l", pattern("large ", 150'000), {reply(200, pattern("LARGE ", 150'000))})}), 1499));
  all.push_back(strided(in_turn("large chunked bodies", {in_chunks("POST", "/l", pattern("large ", 90'000),
                                                                   {chunked(200, pattern("LARGE ", 90'000), true, 7000)}, true, 9000)}),
                        1499));
}

std::vector<Conversation> long_ones() {
  constexpr std::size_t kLong = 300'000;
  constexpr std::size_t kStride = 4999;
  const Ask after = ask("GET", "/after", {reply(200, "after")});
  std::vector<Conversation> all;
  all.push_back(in_turn("long answer", {ask("GET", "/l", {reply(200, pattern("LONG ", kLong))}), after}));
  Ask both = with_length("POST", "/b", pattern("long ", kLong), {slowly(at_head(reply(200, pattern("LONG ", kLong))), 100'000)});
  all.push_back(in_parts("long bodies both ways at once", {both, after}, both.bytes.size() - 100'000, When::heads));
  Conversation up = in_turn("long body", {with_length("POST", "/l", pattern("long ", kLong), {reply(200, "had it")}), after});
  up.uploads = true;
  all.push_back(up);
  constexpr std::size_t kReadAway = 200'000;  // a refused body of more is not waited for
  Ask early = with_length("POST", "/early", pattern("long ", kReadAway), {at_head(reply(413, "too much"))});
  Conversation refused = reconnecting(in_parts("early answer to a long body", {early, after}, early.bytes.size() / 2, When::answers));
  refused.uploads = true;
  all.push_back(refused);
  for (Conversation& one : all) one.stride = kStride;
  return all;
}

}  // namespace

std::vector<std::string> Conversation::methods() const {
  std::vector<std::string> out;
  for (const Ask& one : asks) out.push_back(one.method);
  return out;
}

std::size_t Conversation::client_bytes() const { return end_of_ask(asks.size() - 1); }

std::size_t Conversation::end_of_ask(std::size_t index) const {
  std::size_t end = 0;
  for (std::size_t i = 0; i <= index; ++i) end += asks[i].bytes.size();
  return end;
}

const Reply& background_reply() {
  static const Reply made = slowly(reply(200, "background"), 36, 200ms);
  return made;
}

const std::vector<Conversation>& conversations() {
  static const std::vector<Conversation> all = [] {
    std::vector<Conversation> made = small_ones();
    add_bodies(made);
    return made;
  }();
  return all;
}

const std::vector<Conversation>& long_conversations() {
  static const std::vector<Conversation> all = long_ones();
  return all;
}

}  // namespace weir::test
