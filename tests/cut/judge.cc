#include "tests/cut/judge.h"

#include <algorithm>

namespace weir::test {
namespace {

std::string shown(const WireMessage& message) {
  std::string text = message.start_line;
  if (!message.whole) text += " (a part)";
  return text + " body of " + std::to_string(message.body.size()) + ": " + message.body.substr(0, 60);
}

bool begins(const std::string& whole, const std::string& part) { return whole.compare(0, part.size(), part) == 0; }

void judge_whole_conversation(const Conversation& conversation, const std::vector<WireMessage>& finals, const Allowed& allowed,
                              Problems& problems) {
  if (finals.size() != conversation.asks.size()) {
    problems.push_back("uncut, yet " + std::to_string(finals.size()) + " answers to " + std::to_string(conversation.asks.size()) +
                       " requests");
  }
  for (std::size_t i = 0; i < std::min(finals.size(), conversation.asks.size()); ++i) {
    const Ask& ask = conversation.asks[i];
    const Reply& expected = allowed.retries ? ask.replies.back() : ask.replies.front();
    if (!finals[i].whole || !fits(ask, expected, finals[i])) problems.push_back("uncut, yet answered by " + shown(finals[i]));
  }
}

void judge_answer(const Ask* ask, const WireMessage& answer, WireEnd end, const Allowed& allowed, Problems& problems) {
  const auto is_it = [&](const Reply& reply) {
    WireMessage part = answer;
    if (allowed.early_fin && reply.until_close) part.whole = false;
    return fits(*ask, reply, part);
  };
  const bool known = ask != nullptr && std::any_of(ask->replies.begin(), ask->replies.end(), is_it);
  const bool may_be_own = std::find(allowed.own.begin(), allowed.own.end(), answer.status()) != allowed.own.end();
  if (!known && !(own_answer(answer) && may_be_own)) problems.push_back("an answer that is not expected: " + shown(answer));
  if (!answer.whole && end == WireEnd::open && !allowed.client_deaf) problems.push_back("an answer hangs: " + shown(answer));
  if (answer.until_close && ask != nullptr && ask->bytes.find(" HTTP/1.1\r\n") != std::string::npos) {
    problems.push_back("an answer to HTTP/1.1 whose end only a close tells: " + shown(answer));
  }
}

}  // namespace

bool fits(const Ask& ask, const Reply& reply, const WireMessage& answer) {
  if (answer.status() != reply.status || !answer.field("proxy-status").empty()) return false;
  const std::string body = ask.method == "HEAD" ? std::string() : reply.body;
  if (!answer.whole) return begins(body, answer.body);
  const bool shows_trailers = !answer.field("transfer-encoding").empty();
  return answer.body == body && answer.trailers == (shows_trailers ? reply.trailers : std::string());
}

bool own_answer(const WireMessage& answer) {
  if (begins(answer.field("proxy-status"), "weir;")) return true;
  return answer.whole && answer.status() >= 400 && answer.body.empty() && answer.fields.size() <= 3;
}

std::vector<WireMessage> finals_of(const WireReading& read) {
  std::vector<WireMessage> finals;
  std::copy_if(read.messages.begin(), read.messages.end(), std::back_inserter(finals),
               [](const WireMessage& one) { return one.final_answer(); });
  return finals;
}

void judge_client(const Conversation& conversation, const WireReading& read, WireEnd end, const Allowed& allowed, Problems& problems) {
  if (!read.bad.empty()) problems.push_back("the client got nonsense: " + read.bad);
  const std::vector<WireMessage> finals = finals_of(read);
  if (!read.messages.empty() && !read.messages.back().head_whole && end == WireEnd::open && !allowed.client_deaf) {
    problems.push_back("a head hangs");
  }
  for (const WireMessage& one : read.messages) {
    if (one.head_whole && one.status() < 200 && one.status() != 100 && one.status() != 102 && one.status() != 103) {
      problems.push_back("not an interim answer that was sent: " + one.start_line);
    }
  }
  for (std::size_t i = 0; i < finals.size(); ++i) {
    judge_answer(i < conversation.asks.size() ? &conversation.asks[i] : nullptr, finals[i], end, allowed, problems);
    if (i + 1 < finals.size() && finals[i].field("connection") == "close") problems.push_back("an answer behind connection: close");
  }
  if (allowed.uncut) judge_whole_conversation(conversation, finals, allowed, problems);
}

void judge_request(const Conversation& conversation, std::size_t said, const WireMessage& request, Problems& problems) {
  if (!request.head_whole || request.target() == kBackground) return;
  for (std::size_t i = 0; i < conversation.asks.size(); ++i) {
    const Ask& ask = conversation.asks[i];
    if (ask.target != request.target()) continue;
    if (ask.bytes.empty()) return;  // another client's
    if (request.method() != ask.method) problems.push_back("another method reached the upstream: " + shown(request));
    if (!begins(ask.body, request.body)) problems.push_back("the upstream got bytes that were not sent: " + shown(request));
    if (!request.whole) return;
    if (request.body != ask.body) problems.push_back("a body looks whole and is not: " + shown(request));
    if (request.trailers != ask.trailers) problems.push_back("other trailers: " + request.trailers);
    if (said < conversation.end_of_ask(i)) problems.push_back("a request looks whole that the client has not ended: " + shown(request));
    return;
  }
  problems.push_back("a request that nobody sent: " + shown(request));
}

void judge_upstream(const Conversation& conversation, std::size_t said, const CutUpstream& upstream, const Allowed& allowed,
                    Problems& problems) {
  for (const auto& peer : upstream.peers) {
    const WireReading read = read_requests(peer->received);
    if (!read.bad.empty()) problems.push_back("an upstream got nonsense: " + read.bad);
    for (const WireMessage& request : read.messages) judge_request(conversation, said, request, problems);
    if (read.messages.size() > peer->answered + 1) problems.push_back("a request before the last one was answered");
    const bool part = !read.messages.empty() && !read.messages.back().whole;
    if (part && peer->open() && !peer->over() && !peer->mute() && !allowed.upstream_deaf) {
      problems.push_back("a part of a request hangs: " + shown(read.messages.back()));
    }
  }
  for (const Ask& ask : conversation.asks) {
    const auto tried = upstream.tries.find(ask.target);
    if (ask.bytes.empty() || tried == upstream.tries.end() || tried->second <= allowed.tries) continue;
    problems.push_back(std::to_string(tried->second) + " tries of " + ask.target);
  }
}

std::string joined(const Problems& problems) {
  std::string text;
  for (const std::string& one : problems) text += "\n  - " + one;
  return text;
}

}  // namespace weir::test
