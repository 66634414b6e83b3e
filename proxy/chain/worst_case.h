// The worst case of one request through a chain: how often it may be tried and how long that may take, from what the filters tell of
// themselves (FilterFacts). `weir explain`, `weir plan` and the lints ask; whoever asks owns all values.
// Pure arithmetic: it knows no kind of filter and no clock, and says "unbounded" where nothing bounds.
//
// The formula. Link i, started at time s (from the complete request head), has told its answer's head or a failure at the latest at
//   E(i, s) = min( max(s, total), s + try_limit, T(n) )   with   T(0) = s + longest_wait,   T(k) = E(i+1, T(k-1) + pause(k)) + holds_answer
// where n = max_attempts + free_resends is how often it starts the next link, pause(k) = 0 for the first start and for free resends, and
// min(max_backoff, base_backoff * 2^(k-1)) + max_retry_after before the k-th retry. Bounds that are not set are infinite. The innermost link
// is the upstream, and infinite: nothing but a timeout bounds how long it may think. The end of the answer is bounded by the shortest total
// alone. A client that takes its time for the body moves try_limit by as much, which is not counted here. So E is an upper bound: all tries that are allowed, each as long as it can be.
// An upstream that cannot be connected to is another case: there the innermost link fails at s + min(connect_timeout, pending_timeout), n is
// max_attempts where failures to connect are retried and 1 where not, and nobody asks for more time (max_retry_after = holds_answer = 0).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "proxy/chain/filter.h"

namespace weir {

struct ChainStep {
  FilterFacts facts;
  bool acts = true;    // false: in shadow, disabled, or not for this request: nothing it says counts
  bool always = true;  // false: some requests pass it by (ramp): its bounds do not count, its tries and waits do
};

struct UpstreamTimes {
  Duration connect{0};  // for one connection
  Duration pending{0};  // until a request has one
};

struct WorstCase {
  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

  std::uint64_t attempts = 1;           // tries in all, free resends not counted
  std::uint64_t free_resends = 0;       // further tries after a kept-alive connection proved dead
  std::optional<Duration> to_headers;   // until the head of the answer, or weir's own answer; nothing: unbounded
  std::optional<Duration> to_end;       // until the last byte of the answer
  std::optional<Duration> tries;        // to_headers were there no total: what the tries alone would take
  std::optional<Duration> unreachable;  // until weir's own answer when no connection comes about
  std::size_t total = kNone;            // which step's total bounds the end
  std::vector<std::size_t> try_limits;  // the steps whose try_limit bounds something
  std::size_t silence = kNone;          // the step with the shortest idle: it ends silences, but bounds nothing
};

// `steps`: outermost first.
WorstCase worst_case(std::span<const ChainStep> steps, const UpstreamTimes& upstream);

// WorstCase::attempts alone; a million stands for more.
std::uint64_t most_attempts(std::span<const ChainStep> steps);

// The step with the shortest total among the first `count`; kNone when there is none.
std::size_t shortest_total(std::span<const ChainStep> steps, std::size_t count);

// The longest wait before the n-th retry (n >= 1): min(max, base * 2^(n-1)).
Duration backoff_bound(Duration base, Duration max, std::uint32_t n);

}  // namespace weir
