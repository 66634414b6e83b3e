#include "config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <exception>
#include <istream>
#include <streambuf>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace weir::config {
namespace {

// Where lines begin, to count columns in characters: yaml-cpp counts bytes.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {
    starts_.push_back(0);
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') starts_.push_back(i + 1);
    }
  }

  // Line and column from 0, as yaml-cpp counts.
  Place place(std::size_t line, std::size_t column, std::uint16_t file) const {
    Place place;
    place.line = static_cast<std::uint32_t>(line + 1);
    place.column = static_cast<std::uint16_t>(std::min<std::size_t>(characters(line, column) + 1, 65'535));
    place.file = file;
    return place;
  }
  // The text from there on.
  std::string_view at(std::size_t line, std::size_t column) const {
    if (line >= starts_.size()) return {};
    return text_.substr(std::min(starts_[line] + column, text_.size()));
  }
  std::pair<std::size_t, std::size_t> position(std::size_t offset) const {
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), offset);
    const auto line = static_cast<std::size_t>(after - starts_.begin()) - 1;
    return {line, offset - starts_[line]};
  }

 private:
  // Marks come in order, so that a line is counted once and not once for each value on it.
  std::size_t characters(std::size_t line, std::size_t bytes) const {
    if (line >= starts_.size()) return bytes;
    if (line != counted_.line || bytes < counted_.bytes) counted_ = {line, 0, 0};
    const std::string_view more = text_.substr(std::min(starts_[line] + counted_.bytes, text_.size()), bytes - counted_.bytes);
    const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; };
    counted_.characters += static_cast<std::size_t>(std::count_if(more.begin(), more.end(), begins));
    counted_.bytes = bytes;
    return counted_.characters;
  }

  struct Counted {
    std::size_t line = 0;
    std::size_t bytes = 0;
    std::size_t characters = 0;
  };

  std::string_view text_;
  std::vector<std::size_t> starts_;
  mutable Counted counted_;
};

// The length of the UTF-8 character at the front (RFC 3629), 0 when it is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto continues = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first < 0xe0) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first < 0xf0) {
    const bool overlong = first == 0xe0 && byte(1) < 0xa0;
    const bool surrogate = first == 0xed && byte(1) >= 0xa0;
    return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xf0 && first < 0xf5) {
    const bool overlong = first == 0xf0 && byte(1) < 0x90;
    const bool beyond = first == 0xf4 && byte(1) >= 0x90;
    return continues(1) && continues(2) && continues(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

struct Stop {};  // thrown by the builder through yaml-cpp to end the parse; never leaves this file

class Builder final : public YAML::EventHandler {
 public:
  Builder(const Lines& lines, std::uint16_t file, Diagnostics& diagnostics) : lines_(lines), file_(file), diagnostics_(diagnostics) {}

  Value take_root() { return std::move(root_); }
  Place place(const YAML::Mark& mark) const {
    const auto from_zero = [](int number) { return static_cast<std::size_t>(std::max(number, 0)); };
    return lines_.place(from_zero(mark.line), from_zero(mark.column), file_);
  }
  void say(Place place, std::string_view message) {
    if (!silent()) diagnostics_.error(place, path(), message);
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ == 1) return;
    diagnostics_.error(place(mark), {}, "a second document; a configuration is one document");
    throw Stop{};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Value value;
    value.place = null_place(mark);
    check_properties(value.place, {}, anchor);
    if (expects_key()) return begin_entry("null", false, place(mark));
    add(std::move(value));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Value value;
    value.kind = Value::Kind::invalid;
    value.place = place(mark);
    say(value.place, "aliases are not supported; write the value out, or share filters by `use: policy`");
    if (expects_key()) throw Stop{};
    add(std::move(value));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& text) override {
    Value value = Value::plain(text);
    value.place = place(mark);
    value.quoted = tag == "!";
    if (!is_utf8(text)) {  // yaml-cpp turns some escapes, such as "\\_", into a lone byte
      say(value.place, "not text: not UTF-8");
      throw Stop{};
    }
    if (expects_key()) {
      check_properties(value.place, tag, anchor);
      return begin_entry(text, value.quoted, value.place);
    }
    if (!check_properties(value.place, tag, anchor)) value.kind = Value::Kind::invalid;
    if (!value.quoted && is_yaml11_boolean(text)) {
      say(value.place, concat(text, " is a boolean to YAML 1.1 tools; write true or false, or put the text in quotes"));
      value.kind = Value::Kind::invalid;
    }
    add(std::move(value));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(Value::list(), mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    open(Value::map(), mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    Value value;
    Value::Member entry;  // of a map: the key that waits for its value
    bool has_key = false;
    bool dropped = false;                                  // the value of this key was refused: it is built, in silence, and thrown away
    std::unordered_map<std::string, std::uint32_t> lines;  // of the keys so far
  };

  bool expects_key() const { return !stack_.empty() && stack_.back().value.is(Value::Kind::map) && !stack_.back().has_key; }
  bool silent() const {
    return std::any_of(stack_.begin(), stack_.end(), [](const Frame& frame) { return frame.dropped; });
  }

  std::string path() const {
    std::string out;
    for (const Frame& frame : stack_) {
      if (frame.value.is(Value::Kind::list)) {
        out += concat('[', frame.value.items.size(), ']');
      } else if (frame.has_key) {
        out += concat(out.empty() ? "" : ".", frame.entry.key);
      }
    }
    return out;
  }

  // yaml-cpp marks an empty value at the next token, which may be lines below: then the key is the better
  // place.
  Place null_place(const YAML::Mark& mark) const {
    const auto line = static_cast<std::size_t>(std::max(mark.line, 0));
    const std::string_view here = lines_.at(line, static_cast<std::size_t>(std::max(mark.column, 0)));
    const bool written = here.starts_with('~') || equal_ignoring_case(here.substr(0, 4), "null");
    if (written || stack_.empty()) return place(mark);
    const Frame& frame = stack_.back();
    if (frame.has_key) return frame.entry.place;
    return frame.value.items.empty() ? frame.value.place : frame.value.items.back().place;
  }

  bool check_properties(Place at, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) say(at, "anchors are not supported; share filters by `use: policy`");
    const bool tagged = !tag.empty() && tag != "?" && tag != "!";
    if (tagged) say(at, concat("tags are not supported, got ", tag));
    return anchor == 0 && !tagged;
  }

  void begin_entry(const std::string& key, bool quoted, Place at) {
    Frame& frame = stack_.back();
    frame.entry = Value::Member();
    frame.entry.key = key;
    frame.entry.quoted = quoted;
    frame.entry.place = at;
    frame.has_key = true;
    const auto [first, fresh] = frame.lines.emplace(key, at.line);
    bool refused = true;
    if (!quoted && key == "<<") {
      say(at, "merge keys are not supported; share filters by `use: policy`");
    } else if (!quoted && is_yaml11_boolean(key)) {
      say(at, "a boolean to YAML 1.1 tools cannot be a key; choose another name");
    } else if (!fresh) {
      say(at, concat("duplicate key, first at line ", first->second));
    } else {
      refused = false;
    }
    frame.dropped = refused;
  }

  void open(Value value, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    value.place = place(mark);
    check_properties(value.place, tag, anchor);
    if (expects_key()) {
      say(value.place, "a key must be text");
      throw Stop{};
    }
    if (stack_.size() >= kMostYamlDepth) {
      diagnostics_.error(value.place, {}, concat("nested deeper than ", kMostYamlDepth, " levels"));
      throw Stop{};
    }
    stack_.emplace_back();
    stack_.back().value = std::move(value);
  }

  void close() {
    Value value = std::move(stack_.back().value);
    stack_.pop_back();
    add(std::move(value));
  }

  void add(Value value) {
    if (++nodes_ == kMostYamlNodes) {
      diagnostics_.error(value.place, {}, concat("more than ", kMostYamlNodes, " values"));
      throw Stop{};
    }
    if (stack_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& frame = stack_.back();
    if (frame.value.is(Value::Kind::list)) {
      frame.value.items.push_back(std::move(value));
    } else {
      frame.entry.value = std::move(value);
      if (!frame.dropped) frame.value.members.push_back(std::move(frame.entry));
      frame.has_key = false;
      frame.dropped = false;
    }
  }

  const Lines& lines_;
  std::uint16_t file_;
  Diagnostics& diagnostics_;
  std::vector<Frame> stack_;
  Value root_;
  std::size_t nodes_ = 0;
  int documents_ = 0;
};

// The offset of the first byte that is no text, or npos. yaml-cpp would take some of them for the end of the
// file.
std::size_t find_garbage(std::string_view text, std::string_view& what) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool line_end = byte == '\n' || (byte == '\r' && i + 1 < text.size() && text[i + 1] == '\n');
    const std::size_t length = utf8_length(text.substr(i));
    what = length == 0 ? "not UTF-8" : "a control character";
    if (length == 0 || byte == 0x7f || (byte < 0x20 && byte != '\t' && !line_end)) return i;
    i += length;
  }
  return std::string_view::npos;
}

class ViewBuffer final : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // a read area: streambuf asks for char*, and nothing writes to it
    setg(begin, begin, begin + text.size());
  }
};

// yaml-cpp says many things of a tab in the indentation, none of them that it is a tab.
bool report_tab(const Lines& lines, const YAML::Mark& mark, std::uint16_t file, Diagnostics& diagnostics) {
  const auto line = static_cast<std::size_t>(std::max(mark.line, 0));
  const std::string_view text = lines.at(line, 0);
  const std::size_t column = std::min(text.find_first_not_of(' '), text.size());
  if (column == text.size() || text[column] != '\t') return false;
  diagnostics.error(lines.place(line, column, file), {}, "a tab in the indentation; use spaces");
  return true;
}

// `{ level: ${env:X} }`: inside a flow collection the braces are YAML's own.
bool report_bare_substitution(const Lines& lines, const YAML::Mark& mark, std::uint16_t file, Diagnostics& diagnostics) {
  if (mark.line < 0 || mark.column < 1) return false;
  const auto line = static_cast<std::size_t>(mark.line);
  const auto column = static_cast<std::size_t>(mark.column) - 1;
  if (!lines.at(line, column).starts_with("${")) return false;
  diagnostics.error(lines.place(line, column, file), {}, "within [ ] and { } write \"${...}\" in quotes");
  return true;
}

std::string syntax_message(const YAML::Exception& problem) {
  if (problem.msg == "bad file") return "nested too deeply";
  return problem.msg.empty() ? "not valid YAML" : concat("not valid YAML: ", problem.msg);
}

}  // namespace

bool is_utf8(std::string_view text) {
  std::size_t length = 1;
  for (; !text.empty() && length > 0; text.remove_prefix(length)) length = utf8_length(text);
  return length > 0;
}

Value parse_yaml(std::string_view text, std::uint16_t file, Diagnostics& diagnostics) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // a byte order mark
  Value broken;
  broken.kind = Value::Kind::invalid;
  if (text.size() > kMostYamlBytes) {
    diagnostics.error(Place{1, 1, file}, {}, concat("the file is larger than ", format_size(kMostYamlBytes)));
    return broken;
  }
  const Lines lines(text);
  std::string_view what;
  if (const std::size_t offset = find_garbage(text, what); offset != std::string_view::npos) {
    const auto [line, column] = lines.position(offset);
    diagnostics.error(lines.place(line, column, file), {}, concat("not text: ", what));
    return broken;
  }
  Builder builder(lines, file, diagnostics);
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
    return builder.take_root();
  } catch (const Stop&) {  // said already
  } catch (const YAML::Exception& problem) {
    if (!report_tab(lines, problem.mark, file, diagnostics) && !report_bare_substitution(lines, problem.mark, file, diagnostics))
      diagnostics.error(builder.place(problem.mark), {}, syntax_message(problem));
  } catch (const std::exception& problem) {  // memory, or a bug in the library: refuse the file, not the process
    diagnostics.error(Place{1, 1, file}, {}, concat("not valid YAML: ", std::string_view(problem.what())));
  }
  return broken;
}

}  // namespace weir::config
