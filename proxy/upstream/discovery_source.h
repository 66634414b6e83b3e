// DiscoverySource: what the things that endpoints are found by (names, SRV records, files) share: errors, and when the last good answer came.
// A service's Discovery owns its sources, on main's loop; discovery.h says how they fit together.
// It never forgets what was found: that a later answer is bad is an error, not a change.
#pragma once

#include <optional>
#include <string>

#include "proxy/base/time.h"
#include "proxy/runtime/event_loop.h"

namespace weir {

class Discovery;

// Wrong answers must not become a load: no source gives more than this. What is beyond, in sorted order, is left out, and is an error.
inline constexpr std::size_t kMostEndpoints = 1000;  // of a name and family, an SRV name or a file
inline constexpr std::size_t kMostSrvTargets = 100;  // each of which is looked up

class DiscoverySource {
 public:
  DiscoverySource(Discovery& owner, std::string text) : owner_(owner), text_(std::move(text)) {}
  virtual ~DiscoverySource() = default;
  DiscoverySource(const DiscoverySource&) = delete;
  DiscoverySource& operator=(const DiscoverySource&) = delete;

  const std::string& error() const { return answer_error_.empty() ? size_error_ : answer_error_; }  // begins with text()
  const std::string& text() const { return text_; }                                                 // "dns:payments.shop"
  virtual std::optional<MonotonicTime> last_good() const { return last_good_; }

  bool used = false;  // Discovery's mark: something that is configured leads here

 protected:
  void good();                         // the answer was taken
  void bad(const std::string& error);  // it was not, or not wholly; counted
  void too_many(bool many, std::string_view what);

  Discovery& owner_;
  std::optional<MonotonicTime> last_good_;

 private:
  void set(std::string& slot, std::string text);
  const std::string text_;
  std::string answer_error_;  // of the last answer
  std::string size_error_;    // of what is used of the last good one
};

// When to ask again after failures: 1 s, 2 s, 4 s ... up to the longest time an answer is kept, each less up to a quarter.
class DiscoveryBackOff {
 public:
  Duration next(Discovery& owner);
  void reset() { failures_ = 0; }

 private:
  std::uint32_t failures_ = 0;
};

}  // namespace weir
