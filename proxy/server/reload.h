// What came of a reload, and how it is told: to the log, to the admin page, to whoever asked for it.
// Plain values and pure functions; the Server makes them and hands copies out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "proxy/base/time.h"

namespace weir {

struct ReloadOutcome {
  enum class Kind : std::uint8_t {
    taken,      // every worker serves it
    unchanged,  // it says what is served already: no new generation
    refused,    // the last good one stays, whole
  };
  Kind kind = Kind::taken;
  std::uint64_t generation = 0;      // that is served now
  std::string error;                 // of a refusal: every message, a line each
  std::vector<std::string> changes;  // in words (config/schema/changes.h)
};

using ReloadWaiter = std::function<void(const ReloadOutcome&)>;

// Of the last reloads, for the pages.
struct ReloadStatus {
  std::string error;                 // of the last one; empty when it was not refused
  WallTime refused_since{};          // the first refusal since the last one that was not
  WallTime tried_at{};               // the last one
  WallTime served_since{};           // the present generation
  std::vector<std::string> changes;  // that the present generation brought
};

std::string_view to_word(ReloadOutcome::Kind kind);
// For people, several lines: what `weir reload` prints.
std::string describe(const ReloadOutcome& outcome);
// On one line, "; " between them, cut off at `most` bytes.
std::string join_changes(const std::vector<std::string>& changes, std::size_t most = 3000);

}  // namespace weir
