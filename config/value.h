// One node of a configuration tree: a scalar, list or map with the places of its keys and values.
// The tree owns its nodes; whoever loads a file owns the tree, and readers only look at it.
// It never interprets text: numbers and words stay as they were written until a Type reads them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "config/place.h"

namespace weir::config {

struct Value {
  enum class Kind {
    null,  // `key:` with nothing behind it
    scalar,
    list,
    map,
    invalid,  // already reported: whoever reads it says nothing more
  };
  struct Member;

  Kind kind = Kind::null;
  bool quoted = false;  // a scalar in quotes, or a block scalar
  Place place;
  std::string text;             // of a scalar, after substitution
  std::string origin;           // "${env:NAME}" where the text came from elsewhere: messages show this, never the text
  std::vector<Value> items;     // of a list
  std::vector<Member> members;  // of a map, in the order of the file

  static Value plain(std::string text);   // written as it is
  static Value string(std::string text);  // written in quotes where a YAML tool could take it for something else
  static Value list();
  static Value map();

  bool is(Kind wanted) const { return kind == wanted; }
  const Member* find(std::string_view key) const;
  void add(std::string key, Value value);  // to a map
  void add(Value item);                    // to a list

  std::string shown() const;  // how a message names it: its text, or "a list", "a map", "nothing"
};

struct Value::Member {
  std::string key;
  bool quoted = false;
  Place place;
  Value value;
};

// True for the plain words that YAML 1.1 tools read as booleans and YAML 1.2 tools as text: on, off, yes, no.
bool is_yaml11_boolean(std::string_view word);

}  // namespace weir::config
