#include "proxy/server/reload.h"

#include "proxy/base/text.h"

namespace weir {

std::string_view to_word(ReloadOutcome::Kind kind) {
  switch (kind) {
    case ReloadOutcome::Kind::taken: return "taken";
    case ReloadOutcome::Kind::unchanged: return "unchanged";
    case ReloadOutcome::Kind::refused: break;
  }
  return "refused";
}

std::string describe(const ReloadOutcome& outcome) {
  switch (outcome.kind) {
    case ReloadOutcome::Kind::taken: {
      std::string text = concat("taken: every worker serves generation ", outcome.generation, "\n");
      for (const std::string& change : outcome.changes) text += concat("  ", change, "\n");
      return text;
    }
    case ReloadOutcome::Kind::unchanged: return concat("nothing changed: generation ", outcome.generation, " stays\n");
    case ReloadOutcome::Kind::refused: break;
  }
  return concat("refused: generation ", outcome.generation, " stays\n", outcome.error, outcome.error.ends_with('\n') ? "" : "\n");
}

std::string join_changes(const std::vector<std::string>& changes, std::size_t most) {
  std::string text;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    if (text.size() + changes[i].size() + 2 > most) return concat(text, "; and ", changes.size() - i, " more");
    text += concat(i == 0 ? "" : "; ", changes[i]);
  }
  return text;
}

}  // namespace weir
