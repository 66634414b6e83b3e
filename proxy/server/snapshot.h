// Snapshot: one generation of the configuration as one worker serves it: every listener's route table with its chains.
// The worker owns it, and holds it while it is current; each exchange holds the one that it started with until it is over.
// Holding is a plain count on the worker's own thread: never a shared_ptr, never another thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "proxy/base/callback.h"
#include "proxy/server/route_table.h"

namespace weir {

class Snapshot {
 public:
  // `unused` is called when the last holder lets go; the callee then frees the snapshot, but on a later turn.
  Snapshot(std::shared_ptr<const Config> config, std::uint64_t generation, const RouteTableParts& parts, Callback unused);

  void retain() { ++holders_; }
  void release() {
    if (--holders_ == 0) unused_();
  }
  bool held() const { return holders_ != 0; }

  const Config& config() const { return *config_; }
  std::uint64_t generation() const { return generation_; }
  const RouteTable* table(std::string_view listener) const;

 private:
  std::shared_ptr<const Config> config_;
  std::uint64_t generation_;
  std::vector<std::unique_ptr<RouteTable>> tables_;
  std::uint32_t holders_ = 0;
  Callback unused_;
};

}  // namespace weir
