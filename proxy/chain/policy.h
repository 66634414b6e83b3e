// Admission policies: pure decisions with two verbs, admit and record. Breaker, concurrency limit, rate limit and load shedding are all of
// this form, so shadow mode, candidates, metrics and replay are written once (admission_link.h), not once a filter.
// A policy object is host-wide state for its key (service, policy, filter name[, route]) and is shared by all workers; SharedPolicy in
// admission_link.h holds the lock. A policy never sees a loop, a socket, a log or a metric.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/base/time.h"
#include "proxy/chain/failure.h"
#include "proxy/chain/filter.h"
#include "proxy/chain/link.h"

namespace weir {

// What a policy may know of a request.
struct AdmissionFacts {
  const ExchangeContext* exchange = nullptr;  // null in policy unit tests that do not need it
  const RequestHead* head = nullptr;
  std::uint64_t hash = 0;
  std::uint16_t attempt = 1;
};

// Given to an admitted call; comes back with record(). A plain value: the policy says what the words mean.
struct Ticket {
  std::uint64_t generation = 0;
  MonotonicTime admitted{};
  std::uint32_t slot = 0;
  bool probe = false;
};

struct Admission {
  enum class Verdict : std::uint8_t { admit, reject, wait };  // wait: only policies with a queue
  Verdict verdict = Verdict::admit;
  Ticket ticket;
  FailureKind kind = FailureKind::none;  // of a rejection
  std::string_view reason;               // static; for metrics and logs
  Duration retry_after{0};
};

// How an admitted call went. Exactly one for each ticket.
struct Outcome {
  enum class Class : std::uint8_t {
    answered,  // an upstream answer; `status` says which, `clean` whether it came whole
    failed,    // no answer; `failure` says why
    ignored,   // says nothing about the upstream: client gone, rejected further in, a deadline of the client. A drop after the
               // response head (a retry, or the client) still carries `status` and `to_headers`
  };
  Class cls = Class::ignored;
  int status = 0;
  GrpcStatus grpc_status = GrpcStatus::none;  // of a gRPC answer: from its head, or from its trailers when it has ended
  FailureKind failure = FailureKind::none;    // also of an answer that broke off (then clean is false), and of what is ignored
  bool clean = true;
  bool cut_short = false;  // ignored, but the upstream owed the answer when a cancel or deadline ended it: may count as slow
  // From admission, or from what of the request's body the client sent later.
  Duration to_headers{-1};  // to the response head; -1: none came
  Duration total{0};        // to the end
};

class AdmissionPolicy {
 public:
  virtual ~AdmissionPolicy() = default;
  virtual Admission admit(MonotonicTime now, const AdmissionFacts& facts, Random& random) = 0;
  virtual void record(MonotonicTime now, const Ticket& ticket, const Outcome& outcome, Random& random) = 0;
  virtual void describe(MonotonicTime /*now*/, std::vector<StateFact>& /*facts*/) const {}  // for operators; under the lock
};

}  // namespace weir
