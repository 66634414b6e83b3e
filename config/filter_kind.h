// What configuration knows of a kind of filter: its name, its declared fields, and the facts that lints
// compare. The filters' factories implement FilterKind and the catalog owns them; the schema only borrows
// them to read and check policies. It never builds a filter.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/section.h"

namespace weir::config {

// What one configured filter says about itself, for lints that look at several. Leave absent what does not
// apply.
// `*_field` is the field that a complaint should point at, by its declared name.
struct FilterFacts {
  std::optional<Duration> total;              // bounds everything inside it
  std::optional<Duration> response_headers;   // bounds the wait for a response head
  std::optional<std::uint32_t> max_attempts;  // of what is inside it, the first one included
  bool repeats_unsafe =
      false;  // repeats POST and the like after a byte was sent (methods: any, or a list that says so)
  bool only_before_sending = false;         // repeats only after causes that prove that nothing was sent
  std::optional<Duration> window;           // over which calls are counted
  std::optional<std::uint32_t> min_calls;   // that the window needs before anything is decided
  std::optional<std::uint32_t> most_calls;  // that can pass in one window, where the filter knows
  bool keeps_state = false;                 // two without a name would be told apart by their order only
  bool can_answer = false;                  // answers in place of a failure (fallback)
  bool limits = false;                      // admits or refuses by load (concurrency_limit, load_shed)
};

class FilterKind {
 public:
  virtual ~FilterKind() = default;
  virtual std::string_view name() const = 0;       // "retry", the key in the list of filters
  virtual const SectionBase& section() const = 0;  // its fields, without name, mode, when and ramp
  // `fields` is what section().read_new returned: Section<T>::as(fields) is the T behind it.
  virtual FilterFacts facts(const void* fields) const = 0;
};

// All kinds that a configuration may use.
class FilterKinds {
 public:
  FilterKinds() = default;
  explicit FilterKinds(std::vector<const FilterKind*> kinds) : kinds_(std::move(kinds)) {}

  const FilterKind* find(std::string_view name) const {
    for (const FilterKind* kind : kinds_) {
      if (kind->name() == name) return kind;
    }
    return nullptr;
  }
  std::vector<std::string_view> names() const {
    std::vector<std::string_view> out;
    for (const FilterKind* kind : kinds_) out.push_back(kind->name());
    return out;
  }
  const std::vector<const FilterKind*>& all() const { return kinds_; }

 private:
  std::vector<const FilterKind*> kinds_;
};

}  // namespace weir::config
