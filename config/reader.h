// A walk through a configuration tree that knows its path, so that every complaint carries it.
// Made for one run over one tree; it borrows the Diagnostics that collects what is said.
// It never throws and never stops: what cannot be read is reported once and skipped.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/diagnostics.h"
#include "config/value.h"

namespace weir::config {

class Reader {
 public:
  explicit Reader(Diagnostics& diagnostics, std::string path = {}, const Files* files = nullptr)
      : diagnostics_(diagnostics), path_(std::move(path)), files_(files) {}
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // One step down the tree, for as long as the scope lives.
  class [[nodiscard]] Scope {
   public:
    Scope(Reader& reader, std::size_t length) : reader_(reader), length_(length) {}
    ~Scope() { reader_.path_.resize(length_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Reader& reader_;
    std::size_t length_;
  };
  Scope enter(std::string_view key);
  Scope enter(std::size_t index);

  // Names that references of one kind ("service") may use; without them every name is good.
  void know(std::string kind, std::vector<std::string> names) { known_[std::move(kind)] = std::move(names); }
  const std::vector<std::string>* known(const std::string& kind) const {
    const auto found = known_.find(kind);
    return found == known_.end() ? nullptr : &found->second;
  }

  const Files* files() const { return files_; }  // null in tests that need no names of files
  const std::string& path() const { return path_; }
  std::size_t errors() const { return diagnostics_.errors(); }
  void error(Place place, std::string_view message) { diagnostics_.error(place, path_, message); }
  void warning(Place place, std::string_view message, std::string_view code) { diagnostics_.warning(place, path_, message, code); }

  // True when the value is of that kind; otherwise says "expected <what>, got ...", unless it was reported
  // already.
  bool expect(const Value& value, Value::Kind kind, std::string_view what);

  // A key that is none of `known`, with the nearest of them.
  void unknown_key(const Value::Member& member, const std::vector<std::string_view>& known);

 private:
  Diagnostics& diagnostics_;
  std::string path_;
  const Files* files_;
  std::map<std::string, std::vector<std::string>> known_;
};

// "; did you mean payments?", or nothing when no name is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& candidates);

}  // namespace weir::config
