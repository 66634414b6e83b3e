#include "config/schema/changes.h"

#include <algorithm>
#include <map>
#include <utility>

#include "config/schema/sections.h"
#include "config/write.h"
#include "proxy/base/text.h"

namespace weir {
namespace {

using config::Value;

constexpr std::size_t kMostValueBytes = 60;  // of one value in a line

std::string clipped(std::string text, std::size_t most) {
  if (text.size() <= most) return text;
  std::size_t end = most - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;  // never within a character
  text.resize(end);
  return text + "...";
}

bool same(const Value& a, const Value& b) {
  const auto same_member = [](const Value::Member& one, const Value::Member& other) {
    return one.key == other.key && same(one.value, other.value);
  };
  return a.kind == b.kind && a.text == b.text && std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), same) &&
         std::equal(a.members.begin(), a.members.end(), b.members.begin(), b.members.end(), same_member);
}

bool holds(const std::vector<Value>& items, const Value& wanted) {
  return std::any_of(items.begin(), items.end(), [&](const Value& one) { return same(one, wanted); });
}

std::string text_of(const Value& map, std::string_view key) {
  const Value::Member* member = map.find(key);
  return member == nullptr ? std::string() : member->value.text;
}

Value named(std::string name, Value value) {
  Value map = Value::map();
  map.add(std::move(name), std::move(value));
  return map;
}

// A list of things with names as a map of them, so that they are compared by name.
Value by_name(const Value& list) {
  Value out = Value::map();
  for (const Value& item : list.items) out.add(text_of(item, "name"), item);
  return out;
}

// Filters by name, else kind; a second one of a kind is "timeout-2", as its default name is.
Value filters_by_name(const Value& list) {
  Value out = Value::map();
  std::map<std::string, int> seen;
  for (const Value& item : list.items) {
    if (item.members.empty()) continue;
    const Value::Member& kind = item.members.front();
    std::string name = text_of(kind.value, "name");
    if (name.empty()) name = kind.key;
    const int count = ++seen[name];
    Value fields = named("kind", Value::plain(kind.key));
    for (const Value::Member& field : kind.value.members) fields.members.push_back(field);
    out.add(count == 1 ? name : concat(name, '-', count), std::move(fields));
  }
  return out;
}

// What differs in one thing (a service, a listener, a section): parts of one line.
class Difference {
 public:
  Difference(const Substituted& before, const Substituted& after) : before_(before), after_(after) {}

  void fields(const std::string& path, const Value& a, const Value& b) {
    if (same(a, b)) return;
    const std::size_t told = parts_.size();
    if (a.is(Value::Kind::map) && b.is(Value::Kind::map)) {
      members(path, a, b);
    } else if (a.is(Value::Kind::list) && b.is(Value::Kind::list)) {
      items(path, a, b);
    } else {
      values(path, a, b);
    }
    if (parts_.size() == told) parts_.push_back(concat(path, path.empty() ? "order changed" : ": order changed"));
  }

  // Things with names in an order that has meaning: routes, filters.
  void ordered(std::string_view what, const Value& a, const Value& b) {
    for (const Value::Member& one : a.members) {
      const Value::Member* other = b.find(one.key);
      if (other == nullptr) parts_.push_back(concat(what, ' ', one.key, " removed"));
      if (other != nullptr) fields(concat(what, ' ', one.key), one.value, other->value);
    }
    for (const Value::Member& one : b.members) {
      if (a.find(one.key) == nullptr) parts_.push_back(concat(what, ' ', one.key, " added"));
    }
    if (common(a, b) != common(b, a)) parts_.push_back(concat("order of ", what, "s changed"));
  }

  std::string line() const {
    std::string out;
    for (const std::string& part : parts_) out += concat(out.empty() ? "" : ", ", part);
    return out;
  }

 private:
  static std::vector<std::string> common(const Value& of, const Value& with) {
    std::vector<std::string> names;
    for (const Value::Member& one : of.members) {
      if (with.find(one.key) != nullptr) names.push_back(one.key);
    }
    return names;
  }

  // With `!same` and nothing told the order differs: of header edits, say.
  void members(const std::string& path, const Value& a, const Value& b) {
    static const Value kNone;
    const auto below = [&](const std::string& key) {
      return path.empty() ? key : concat(path, path.find(' ') < path.size() ? " " : ".", key);
    };
    for (const Value::Member& one : a.members) {
      const Value::Member* other = b.find(one.key);
      fields(below(one.key), one.value, other == nullptr ? kNone : other->value);
    }
    for (const Value::Member& one : b.members) {
      if (a.find(one.key) == nullptr) fields(below(one.key), kNone, one.value);
    }
  }

  void items(const std::string& path, const Value& a, const Value& b) {
    for (const Value& one : a.items) {
      if (!holds(b.items, one)) parts_.push_back(concat(path, ": ", shown(path, one, before_), " removed"));
    }
    for (const Value& one : b.items) {
      if (!holds(a.items, one)) parts_.push_back(concat(path, ": ", shown(path, one, after_), " added"));
    }
  }

  void values(const std::string& path, const Value& a, const Value& b) {
    const std::string from = shown(path, a, before_);
    const std::string to = shown(path, b, after_);
    parts_.push_back(from == to ? concat(path, " changed") : concat(path, ' ', from, " -> ", to));
  }

  static std::string shown(const std::string& path, Value value, const Substituted& substituted) {
    if (value.is(Value::Kind::null)) return "none";
    const bool in_headers = path.find("headers") != std::string::npos || path.find("set.") != std::string::npos;
    hide_substituted(value, substituted, in_headers);
    return clipped(config::write_flow(value), kMostValueBytes);
  }

  const Substituted& before_;
  const Substituted& after_;
  std::vector<std::string> parts_;
};

class Comparison {
 public:
  Comparison(const Config& before, const Config& after, const FilterCatalog& catalog)
      : before_(before), after_(after), from_(config_tree(before, catalog)), to_(config_tree(after, catalog)) {}

  std::vector<std::string> run() {
    for (const Value::Member& one : from_.members) compare(one.key);
    for (const Value::Member& one : to_.members) {
      if (from_.find(one.key) == nullptr) compare(one.key);
    }
    compare_tls_files();
    // Told alone: what has another source is shown differently from now on, though nothing else is new.
    if (lines_.empty() && before_.substituted != after_.substituted) add("where values come from");
    if (lines_.size() > kMostChanges) {
      const std::size_t more = lines_.size() - (kMostChanges - 1);
      lines_.resize(kMostChanges - 1);
      lines_.push_back(concat("and ", more, " more"));
    }
    return std::move(lines_);
  }

 private:
  void compare(const std::string& key) {
    static const Value kNone;
    const Value::Member* a = from_.find(key);
    const Value::Member* b = to_.find(key);
    const Value& from = a == nullptr ? kNone : a->value;
    const Value& to = b == nullptr ? kNone : b->value;
    if (same(from, to)) return;
    if (key == "listeners") return things("listener", by_name(from), by_name(to));
    if (key == "services") return things("service", from, to);
    if (key == "policies") return things("policy", from, to);
    Difference difference(before_.substituted, after_.substituted);
    difference.fields(key, from, to);
    add(difference.line());
  }

  void things(std::string_view kind, const Value& from, const Value& to) {
    for (const Value::Member& one : from.members) {
      const Value::Member* other = to.find(one.key);
      if (other == nullptr) {
        add(concat(kind, ' ', one.key, ": removed"));
      } else if (!same(one.value, other->value)) {
        thing(kind, one, *other);
      }
    }
    for (const Value::Member& one : to.members) {
      if (from.find(one.key) == nullptr) add(concat(kind, ' ', one.key, ": added", whereabouts(kind, one.value)));
    }
  }

  static std::string whereabouts(std::string_view kind, const Value& value) {
    if (kind == "listener") return concat(" at ", text_of(value, "listen"));
    return {};
  }

  void thing(std::string_view kind, const Value::Member& a, const Value::Member& b) {
    Difference difference(before_.substituted, after_.substituted);
    Value from = a.value;
    Value to = b.value;
    std::string moved;
    if (kind == "listener") {
      if (text_of(from, "listen") != text_of(to, "listen")) {
        moved = concat("moved from ", text_of(from, "listen"), " to ", text_of(to, "listen"));
      }
      const Value routes = by_name(take(from, "routes"));
      difference.ordered("route", routes, by_name(take(to, "routes")));
      static_cast<void>(take(from, "listen"));
      static_cast<void>(take(to, "listen"));
    } else if (kind == "policy") {
      const Value filters = filters_by_name(take(from, "filters"));
      difference.ordered("filter", filters, filters_by_name(take(to, "filters")));
    }
    difference.fields({}, from, to);
    const std::string rest = difference.line();
    add(concat(kind, ' ', a.key, ": ", moved, moved.empty() || rest.empty() ? "" : ", ", rest));
  }

  // Files that are named as before, and say something else: a certificate that was renewed.
  void compare_tls_files() {
    for (const ListenerConfig& old : before_.listeners) {
      const auto found =
          std::find_if(after_.listeners.begin(), after_.listeners.end(), [&](const auto& one) { return one.name == old.name; });
      if (found == after_.listeners.end() || !old.tls || !found->tls) continue;
      compare_contexts(concat("listener ", old.name), old.tls->context.get(), found->tls->context.get());
    }
    for (const auto& [name, old] : before_.services) {
      const auto found = after_.services.find(name);
      if (found == after_.services.end() || !old.tls || !found->second.tls) continue;
      compare_contexts(concat("service ", name), old.tls->context.get(), found->second.tls->context.get());
    }
  }

  void compare_contexts(const std::string& whose, const TlsContext* from, const TlsContext* to) {
    if (from == nullptr || to == nullptr || from->fingerprint() == to->fingerprint()) return;
    const std::string start = whose + ':';
    const bool told = std::any_of(lines_.begin(), lines_.end(), [&](const std::string& line) { return line.starts_with(start); });
    if (!told) add(concat(start, " its TLS files say something else"));
  }

  static Value take(Value& map, std::string_view key) {
    const auto found = std::find_if(map.members.begin(), map.members.end(), [&](const Value::Member& one) { return one.key == key; });
    if (found == map.members.end()) return Value();
    Value value = std::move(found->value);
    map.members.erase(found);
    return value;
  }

  void add(std::string line) { lines_.push_back(clipped(std::move(line), kMostChangeBytes)); }

  const Config& before_;
  const Config& after_;
  const Value from_;
  const Value to_;
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> describe_changes(const Config& before, const Config& after, const FilterCatalog& catalog) {
  return Comparison(before, after, catalog).run();
}

}  // namespace weir
