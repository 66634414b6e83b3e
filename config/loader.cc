#include "config/loader.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>
#include <vector>

#include "config/reader.h"
#include "config/type.h"
#include "config/yaml_tree.h"

namespace weir::config {
namespace {

constexpr std::size_t kMostIncludes = 1000;
constexpr std::size_t kMostSubstituteBytes = std::size_t{64} * 1024;

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash + 1);
}

std::string beside(const std::string& path, const std::string& other) { return other.starts_with('/') ? other : folder_of(path) + other; }

// The folder is meant as it is written, whatever its name holds.
std::string pattern_beside(const std::string& path, const std::string& pattern) {
  if (pattern.starts_with('/')) return pattern;
  std::string out;
  for (const char c : folder_of(path)) {
    if (c == '*' || c == '?' || c == '[' || c == '\\') out += '\\';
    out += c;
  }
  return out + pattern;
}

// Puts the text of `${env:NAME}` and `${file:PATH}` in; both stand for a whole value, so that nothing is
// spliced.
class Substitution {
 public:
  Substitution(Sources& sources, std::string path, Reader& reader) : sources_(sources), path_(std::move(path)), reader_(reader) {}

  void apply(Value& value) {
    if (value.is(Value::Kind::scalar)) substitute(value);
    for (std::size_t i = 0; i < value.items.size(); ++i) {
      const auto scope = reader_.enter(i);
      apply(value.items[i]);
    }
    for (Value::Member& member : value.members) {
      const auto scope = reader_.enter(member.key);
      apply(member.value);
    }
  }

 private:
  void substitute(Value& value) {
    const std::string written = value.text;
    if (written.find("${env:") == std::string::npos && written.find("${file:") == std::string::npos) {
      if (written.starts_with("${") && written.ends_with('}')) refuse(value, concat("expected ${env:NAME} or ${file:PATH}, got ", written));
      return;
    }
    const bool whole = written.starts_with("${") && written.find('}') == written.size() - 1;
    if (!whole) return refuse(value, "${env:NAME} and ${file:PATH} stand for a whole value only");
    const std::size_t colon = written.find(':');
    const std::string argument = written.substr(colon + 1, written.size() - colon - 2);
    value.origin = written;
    if (written.starts_with("${env:")) {
      from_environment(value, argument);
    } else {
      from_file(value, argument);
    }
  }

  void from_environment(Value& value, const std::string& name) {
    std::optional<std::string> text = sources_.environment(name);
    if (!text) return refuse(value, concat("the environment variable ", name, " is not set"));
    take(value, std::move(*text), concat("the environment variable ", name));
  }

  void from_file(Value& value, const std::string& name) {
    const std::string path = beside(path_, name);
    Result<std::string> text = sources_.read_file(path);
    if (!text) return refuse(value, concat("cannot read ", path, ": ", text.error().message));
    if (text->size() > kMostSubstituteBytes) return refuse(value, concat(path, " is larger than ", format_size(kMostSubstituteBytes)));
    if (text->ends_with('\n')) text->pop_back();  // what editors add
    if (text->ends_with('\r')) text->pop_back();
    take(value, std::move(*text), path);
  }

  // As of what is written: the effective configuration is printed as YAML and JSON, and names become labels.
  void take(Value& value, std::string text, std::string_view from) {
    if (!is_utf8(text) || text.find('\0') != std::string::npos) return refuse(value, concat(from, " holds no text: not UTF-8, or a NUL"));
    value.text = std::move(text);
  }

  void refuse(Value& value, std::string_view message) {
    reader_.error(value.place, message);
    value.kind = Value::Kind::invalid;
  }

  Sources& sources_;
  std::string path_;
  Reader& reader_;
};

class Loader {
 public:
  Loader(Sources& sources, Files& files, Diagnostics& diagnostics) : sources_(sources), files_(files), diagnostics_(diagnostics) {}

  Value load(std::string_view text, const std::string& path, bool main) {
    const std::uint16_t file = files_.add(path);
    Value root = parse_yaml(text, file, diagnostics_);
    if (root.is(Value::Kind::invalid)) whole_ = false;
    if (root.is(Value::Kind::null) && main) diagnostics_.error(Place{1, 1, file}, {}, "the file is empty; expected at least version: 1");
    if (root.is(Value::Kind::scalar) || root.is(Value::Kind::list))
      diagnostics_.error(root.place, {}, concat("expected a map of fields such as version: 1, got ", root.shown()));
    if (!root.is(Value::Kind::map)) return Value();
    Reader reader(diagnostics_);
    Substitution(sources_, path, reader).apply(root);
    return root;
  }

  // False when some file could not be read to its end: then nobody can say what is missing.
  bool whole() const { return whole_; }

  // Reads and takes out `include`, then merges what the files hold into the root.
  void include(Value& root, const std::string& path) {
    const auto is_include = [](const Value::Member& member) { return member.key == "include"; };
    const auto found = std::find_if(root.members.begin(), root.members.end(), is_include);
    if (found == root.members.end()) return;
    const Value patterns = std::move(found->value);
    root.members.erase(found);
    Reader reader(diagnostics_);
    const auto scope = reader.enter("include");
    std::vector<Placed<std::string>> wanted;
    read_patterns(patterns, reader, wanted);
    std::vector<std::string> seen = {path};
    for (const Placed<std::string>& pattern : wanted) {
      const Result<std::vector<std::string>> names = sources_.match(pattern_beside(path, pattern.value));
      if (!names) {
        whole_ = false;
        return reader.error(pattern.place, concat("cannot look for ", pattern.value, ": ", names.error().message));
      }
      for (const std::string& name : *names) {
        if (std::find(seen.begin(), seen.end(), name) != seen.end()) continue;
        if (seen.size() > kMostIncludes) return reader.error(pattern.place, concat("more than ", kMostIncludes, " files"));
        seen.push_back(name);
        include_file(root, name, pattern.place, reader);
      }
    }
  }

 private:
  // One listener by itself is a list of it.
  static Value as_list(Value value) {
    if (!value.is(Value::Kind::map)) return value;
    Value list = Value::list();
    list.place = value.place;
    list.items.push_back(std::move(value));
    return list;
  }

  static void read_patterns(const Value& value, Reader& reader, std::vector<Placed<std::string>>& out) {
    const auto read_one = [&](const Value& one) {
      if (reader.expect(one, Value::Kind::scalar, "a file or a pattern such as conf.d/*.yaml")) out.push_back({one.text, one.place});
    };
    if (!value.is(Value::Kind::list)) return read_one(value);
    for (std::size_t i = 0; i < value.items.size(); ++i) {
      const auto scope = reader.enter(i);
      read_one(value.items[i]);
    }
  }

  void include_file(Value& root, const std::string& name, Place from, Reader& reader) {
    const Result<std::string> text = sources_.read_file(name);
    if (!text) {
      whole_ = false;
      return reader.error(from, concat("cannot read ", name, ": ", text.error().message));
    }
    Value part = load(text.value(), name, false);
    for (Value::Member& member : part.members) merge(root, std::move(member));
  }

  void merge(Value& root, Value::Member member) {
    if (member.key == "listeners") member.value = as_list(std::move(member.value));
    if (member.key == "version") return check_version(member.value);
    if (member.key == "include") return diagnostics_.error(member.place, "include", "only the main file includes others");
    const auto same_key = [&](const Value::Member& other) { return other.key == member.key; };
    const auto found = std::find_if(root.members.begin(), root.members.end(), same_key);
    const bool things = member.key == "services" || member.key == "policies";
    const bool listeners = member.key == "listeners";
    if (found == root.members.end()) {
      root.members.push_back(std::move(member));
    } else if (things && found->value.is(Value::Kind::map) && member.value.is(Value::Kind::map)) {
      merge_named(found->value, std::move(member.value), member.key);
    } else if (listeners && as_list(found->value).is(Value::Kind::list) && member.value.is(Value::Kind::list)) {
      found->value = as_list(std::move(found->value));
      std::move(member.value.items.begin(), member.value.items.end(), std::back_inserter(found->value.items));
    } else if (!found->value.is(Value::Kind::invalid)) {
      diagnostics_.error(member.place, member.key, concat("defined twice, first at ", files_.print_line(found->place)));
    }
  }

  void merge_named(Value& into, Value from, const std::string& path) {
    std::unordered_map<std::string, Place> places;
    for (const Value::Member& member : into.members) places.emplace(member.key, member.place);
    for (Value::Member& member : from.members) {
      const auto [first, fresh] = places.emplace(member.key, member.place);
      if (fresh) {
        into.members.push_back(std::move(member));
      } else {
        diagnostics_.error(member.place, concat(path, '.', member.key),
                           concat("defined twice, first at ", files_.print_line(first->second)));
      }
    }
  }

  void check_version(const Value& value) {
    Reader reader(diagnostics_);
    const auto scope = reader.enter("version");
    int version = 1;
    const Type<int> type = integer(1, 1);
    (void)type.read(value, reader, version);
  }

  Sources& sources_;
  Files& files_;
  Diagnostics& diagnostics_;
  bool whole_ = true;
};

}  // namespace

Result<Value> load_tree(const std::string& path, Sources& sources, Files& files, Diagnostics& diagnostics) {
  const Result<std::string> text = sources.read_file(path);
  if (!text) return Error{concat("cannot read ", path, ": ", text.error().message), text.error().code};
  Loader loader(sources, files, diagnostics);
  Value root = loader.load(text.value(), path, true);
  loader.include(root, path);
  if (!loader.whole()) return Value();
  return root;
}

Value load_text(std::string_view text, std::string file_name, Sources& sources, Files& files, Diagnostics& diagnostics) {
  return Loader(sources, files, diagnostics).load(text, file_name, true);
}

}  // namespace weir::config
