// ProxyCase: one conversation through the whole proxy in virtual time, cut at one byte or at one event, and everything that must hold after.
// A test makes one for each case; it owns the world, the client and the upstream.
// It reports by sentences and never fails a test by itself.
#pragma once

#include <memory>
#include <optional>

#include "tests/cut/judge.h"
#include "tests/support/world.h"

namespace weir::test {

// What happens at an event.
enum class Blow : unsigned char {
  client_fin,
  client_reset,
  client_close,
  client_stall,
  upstream_fin,
  upstream_reset,
  upstream_close,
  upstream_stall,
  upstream_gone,  // its connections are reset and new ones refused
  front_stall,    // the network between client and proxy stands still
  back_stall,     // and that between proxy and upstream
  reload,         // must not be seen
  drain,          // answers what runs, whole
  stop,           // at once
  front_pause,    // the network in front stands still for a while, and goes on: nothing may change
  back_pause,     // the network behind
  count_,
};
const char* name_of(Blow blow);

struct EventCut {
  Blow blow = Blow::client_fin;
  std::uint64_t at = 0;  // events after the client's connect began
};

class ProxyCase {
 public:
  // With `pipes` of the simulation long bodies are spliced, through a network of short reads and writes.
  explicit ProxyCase(const Conversation& conversation, std::optional<Cut> cut = {}, std::optional<EventCut> blow = {},
                     SplicePipeMaker pipes = make_kernel_pipe);
  Problems run();
  std::uint64_t events() const { return events_; }  // that the conversation took; 0: it was over before the blow
  std::size_t upstream_bytes() const { return upstream_point_.said; }

 private:
  void strike();
  bool stalls() const;
  Allowed allowed() const;
  void judge_lines(Problems& problems);
  std::size_t in_flight();
  std::size_t connections();
  void pause(const char* at);

  const Conversation& conversation_;
  const std::optional<Cut> cut_;
  const std::optional<EventCut> blow_;
  CutPoint client_point_;
  CutPoint upstream_point_;
  World world_;
  CutUpstream upstream_;
  std::shared_ptr<CutClient> client_;
  SimClient* background_ = nullptr;
  std::size_t quiet_ = 0;  // events that wait when nothing runs
  std::uint64_t events_ = 0;
};

// All that must be zero when nothing runs, in a world whose clients and upstreams have closed. `quiet`: events that wait then.
void judge_at_rest(World& world, std::size_t quiet, Problems& problems);

}  // namespace weir::test
