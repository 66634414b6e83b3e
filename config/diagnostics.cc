#include "config/diagnostics.h"

#include <algorithm>
#include <utility>

namespace weir::config {
namespace {

constexpr std::size_t kLongestText = 400;

// A line for a terminal or a log: no control characters from a file that may be anything, and of bounded
// length.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kLongestText)) {
    const auto byte = static_cast<unsigned char>(c);
    const bool c1 = byte >= 0x80 && byte < 0xa0 && !out.empty() && out.back() == '\xc2';  // U+0080 to U+009F: terminals obey some
    if (c1) out.pop_back();
    out.push_back(byte < 0x20 || byte == 0x7f || c1 ? '?' : c);
  }
  if (text.size() <= kLongestText) return out;
  while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xc0U) == 0x80U) out.pop_back();  // a cut character
  if (!out.empty() && static_cast<unsigned char>(out.back()) >= 0xc0U) out.pop_back();
  return out + "...";
}

bool same(const Diagnostic& a, const Diagnostic& b) {
  return a.severity == b.severity && a.place == b.place && a.message == b.message && a.code == b.code;
}

}  // namespace

void Diagnostics::error(Place place, std::string_view path, std::string_view message) {
  add({Diagnostic::Severity::error, place, printable(path), printable(message), {}}, errors_);
}

void Diagnostics::warning(Place place, std::string_view path, std::string_view message, std::string_view code) {
  add({Diagnostic::Severity::warning, place, printable(path), printable(message), std::string(code)}, warnings_);
}

void Diagnostics::add(Diagnostic diagnostic, std::size_t& count) {
  const auto repeats = [&diagnostic](const Diagnostic& kept) { return same(kept, diagnostic); };
  if (std::any_of(kept_.begin(), kept_.end(), repeats)) return;
  if (++count > kMost) return;
  kept_.push_back(std::move(diagnostic));
}

const std::vector<Diagnostic>& Diagnostics::sorted() {
  std::stable_sort(kept_.begin(), kept_.end(), [](const Diagnostic& a, const Diagnostic& b) { return a.place < b.place; });
  return kept_;
}

std::string Diagnostics::print(const Diagnostic& entry, const Files& files) {
  const bool warning = entry.severity == Diagnostic::Severity::warning;
  std::string out = entry.place ? files.print(entry.place) : std::string(files.name(entry.place.file));
  out += warning ? ": warning: " : ": error: ";
  if (!entry.path.empty()) out += concat(entry.path, ": ");
  out += entry.message;
  if (!entry.code.empty()) out += concat(" [", entry.code, ']');
  return out;
}

std::string Diagnostics::print(const Files& files) {
  std::string out;
  for (const Diagnostic& entry : sorted()) out += print(entry, files) + '\n';
  if (errors_ > kMost) out += concat("and ", errors_ - kMost, " more errors\n");
  if (warnings_ > kMost) out += concat("and ", warnings_ - kMost, " more warnings\n");
  return out;
}

}  // namespace weir::config
