// FakeLink: a scripted innermost link: answers, failures and silences after given delays, in the order of its scripts.
// The test owns it; it outlives the calls. It counts what was started, told and cancelled, so that a test can check that each started
// call was told to its end or cancelled, exactly once.
// It never answers inside start, and it never reads the loop's future: delays are timers.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "proxy/chain/link.h"

namespace weir::test {

struct FakeAnswer {
  Duration after{0};  // from start to the response head or failure; 0 is the next turn
  int status = 200;   // 0: connected (a stream)
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  Duration body_after{0};  // from the head to the body and the end
  bool streams = false;    // a body follows the head even if it proves empty
  Duration end_after{0};   // from the body to its end; 0: at once
  std::vector<std::pair<std::string, std::string>> trailers;
  bool end_told_first = false;        // the call's end before the body's: as HTTP/1's codec does
  std::vector<int> informational;     // told just before the head
  std::optional<Failure> failure;     // instead of an answer
  std::optional<FailureKind> breaks;  // the answer ends with this instead of cleanly
  bool never = false;                 // says nothing at all
  bool reads_body = true;             // takes the request body as it comes
  bool waits_for_body = false;        // `after` begins when the request body has ended
  bool connects = true;               // the attempt's record says that it had a connection
  std::uint32_t endpoint = 1;

  static FakeAnswer ok(int status = 200) { return with(status); }
  static FakeAnswer with(int status, std::string body = {}) {
    FakeAnswer answer;
    answer.status = status;
    answer.body = std::move(body);
    return answer;
  }
  static FakeAnswer fails(FailureKind kind, bool request_sent = false) {
    FakeAnswer answer;
    answer.failure = Failure{};
    answer.failure->kind = kind;
    answer.failure->request_sent = request_sent;
    return answer;
  }
  static FakeAnswer silent() {
    FakeAnswer answer;
    answer.never = true;
    return answer;
  }
  FakeAnswer& delayed(Duration by) { return after = by, *this; }
  FakeAnswer& at_endpoint(std::uint32_t id) { return endpoint = id, *this; }
  // A gRPC answer: its head, `messages`, and the status in trailers.
  static FakeAnswer grpc(int status, std::string messages = {}) {
    FakeAnswer answer = with(200, std::move(messages));
    answer.streams = true;
    answer.header("content-type", "application/grpc");
    answer.trailers = {{"grpc-status", std::to_string(status)}};
    return answer;
  }
  static FakeAnswer grpc_trailers_only(int status) {
    return with(200).header("content-type", "application/grpc").header("grpc-status", std::to_string(status));
  }
  FakeAnswer& trailer(std::string name, std::string value) {
    trailers.emplace_back(std::move(name), std::move(value));
    return *this;
  }
  FakeAnswer& header(std::string name, std::string value) {
    headers.emplace_back(std::move(name), std::move(value));
    return *this;
  }
};

class FakeLink final : public Link {
 public:
  // What a started call was given, and how it went.
  struct Seen {
    std::uint16_t attempt = 0;
    MonotonicTime at{};
    MonotonicTime deadline = kNever;
    std::vector<std::uint32_t> tried;
    std::string body;
    bool body_ended = false;
    BodyAbort body_abort = BodyAbort::none;
    bool cancelled = false;  // dropped before it had told its end
  };

  FakeLink& then(FakeAnswer answer);    // for the next call that has none
  FakeLink& always(FakeAnswer answer);  // for all calls without a script of their own
  CallPtr start(Request&& request, Caller& caller) override;

  std::vector<Seen> seen;  // by order of starting
  int told = 0;            // calls that told an end or a failure
  int cancelled = 0;
  int live() const { return static_cast<int>(seen.size()) - told - cancelled; }

 private:
  friend class FakeCall;
  std::deque<FakeAnswer> scripts_;
  FakeAnswer otherwise_;
};

}  // namespace weir::test
