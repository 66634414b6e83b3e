// Request targets: the first line of the input is a target, the second a prefix, the third what replaces it. Normalising is compared with
// a plain second implementation; it is idempotent, leaves no dot segment and no encoded slash, and rewriting a prefix keeps all that.
#include <algorithm>
#include <cstdint>
#include <optional>

#include "proxy/base/hash.h"
#include "proxy/base/text.h"
#include "proxy/message/match.h"
#include "proxy/server/request_target.h"
#include "tests/fuzz/fuzz_support.h"

namespace weir {

namespace {

constexpr std::string_view kUnreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

struct Scratch {
  ArenaPool pool;
  Arena& arena = pool.open();
  ~Scratch() { arena.release(); }
};

int hex_digit(char c) {
  constexpr std::string_view kLower = "0123456789abcdef", kUpper = "0123456789ABCDEF";
  const std::size_t at = std::min(kLower.find(c), kUpper.find(c));
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

std::vector<std::string> segments_of(std::string_view path) {
  std::vector<std::string> out;
  while (!path.empty()) {  // each begins with its slash
    const std::size_t end = std::min(path.find('/', 1), path.size());
    out.emplace_back(path.substr(1, end - 1));
    path.remove_prefix(end);
  }
  return out;
}

// RFC 3986 6.2.2.1 and 6.2.2.2 by the letter; nothing where the target is refused.
std::optional<std::string> plain_normal(std::string_view target) {
  if (target == "*") return "*";
  if (!target.starts_with('/') || target.find('#') != std::string_view::npos) return std::nullopt;
  const std::string_view path = target.substr(0, target.find('?'));
  std::string out;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '\\') return std::nullopt;
    if (path[i] != '%') {
      out += path[i];
      continue;
    }
    const std::string_view digits = path.substr(i + 1, 2);
    if (digits.size() != 2 || hex_digit(digits[0]) < 0 || hex_digit(digits[1]) < 0) return std::nullopt;
    const char byte = static_cast<char>(hex_digit(digits[0]) * 16 + hex_digit(digits[1]));
    if (byte == '/' || byte == '\\' || byte == '\0') return std::nullopt;
    if (kUnreserved.find(byte) != std::string_view::npos) {
      out += byte;
    } else {
      out += '%';
      for (const char c : digits) out += static_cast<char>(c >= 'a' && c <= 'f' ? c - 'a' + 'A' : c);
    }
    i += 2;
  }
  for (const std::string& segment : segments_of(out)) {
    const std::string name = segment.substr(0, segment.find(';'));
    if (name == "." || name == "..") return std::nullopt;
  }
  return out + std::string(target.substr(path.size()));
}

void check_normal(Arena& arena, std::string_view target) {
  const Normalized made = normalize_target(arena, target);
  const std::optional<std::string> plain = plain_normal(target);
  require(made.refused.empty() == plain.has_value(), "the same targets are refused", target);
  if (!plain) return;
  require(made.text == *plain, "the same normal form", target);
  const Normalized again = normalize_target(arena, made.text);
  require(again.refused.empty() && again.text == made.text, "normalising is idempotent", target);
  if (target.find('%') == std::string_view::npos) require(made.text.data() == target.data(), "a plain target is not copied", target);
  std::string lower(made.text.substr(0, made.text.find('?')));
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  for (const char* never : {"%2f", "%5c", "%00", "%2e", "\\", "#"}) require(lower.find(never) == std::string::npos, never, target);
}

void check_prefix(Arena& arena, std::string_view target, std::string_view prefix, std::string_view replacement) {
  const std::string_view path = target.substr(0, target.find('?'));
  std::vector<std::string> of_path = segments_of(path), of_prefix = segments_of(prefix);
  if (!of_prefix.empty() && of_prefix.back().empty()) of_prefix.pop_back();  // the slash at the end
  bool matches = of_prefix.size() <= of_path.size() && std::equal(of_prefix.begin(), of_prefix.end(), of_path.begin());
  if (prefix.ends_with('/') && prefix != "/") matches = matches && of_path.size() > of_prefix.size();
  require(path_has_prefix(path, prefix) == matches, "a prefix is matched by segment", concat(target, '\n', prefix));
  if (!matches) return;

  const std::string_view made = rewrite_prefix(arena, target, prefix, replacement);
  const std::string all = concat(target, '\n', prefix, '\n', replacement, '\n', made);
  std::string_view rest = path.substr(prefix.size());
  std::string expected(replacement);
  if (!rest.empty()) {
    if (rest.starts_with('/')) rest.remove_prefix(1);
    if (!expected.ends_with('/')) expected += '/';
    expected += rest;
  }
  require(made == expected + std::string(target.substr(path.size())), "a prefix is replaced by segment", all);
  const Normalized again = normalize_target(arena, made);
  require(again.refused.empty() && again.text == made, "a rewritten target is normal", all);
}

// A path as the configuration takes it and normalising leaves it.
bool is_plain_path(Arena& arena, std::string_view path) {
  const Normalized made = normalize_target(arena, path);
  return path.starts_with('/') && made.refused.empty() && made.text == path && path.find('?') == std::string_view::npos;
}

void run(std::string_view input) {
  Scratch scratch;
  const std::vector<std::string_view> lines = lines_of(input, 3);
  for (const std::string_view line : lines) check_normal(scratch.arena, line);
  if (lines.size() < 3) return;
  const Normalized target = normalize_target(scratch.arena, lines[0]);
  if (!target.refused.empty() || target.text == "*") return;
  if (!is_plain_path(scratch.arena, lines[1]) || !is_plain_path(scratch.arena, lines[2])) return;
  check_prefix(scratch.arena, target.text, lines[1], lines[2]);
  require(hash_text(target.text) == hash_text(std::string(target.text)), "a hash is of the text alone", target.text);
}

}  // namespace

}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  weir::run(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
