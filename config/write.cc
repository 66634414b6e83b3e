#include "config/write.h"

#include <algorithm>
#include <utility>

namespace weir::config {
namespace {

constexpr std::size_t kWidth = 110;

// Whether a plain scalar would be read back as the same text, also inside a flow collection.
bool plain_is_safe(std::string_view text) {
  constexpr std::string_view kNever = ",?[]{}#&*!|>'\"%@`\\";
  if (text.empty() || text == "~" || text == "-" || text == "?" || text == "=" || text == "<<") return false;
  if (is_yaml11_boolean(text)) return false;
  if (equal_ignoring_case(text, "null")) return false;
  if (text.front() == ' ' || text.back() == ' ' || text.front() == ':' || text.back() == ':') return false;
  if (text.starts_with("- ") || text.starts_with("? ") || text.starts_with("---") || text.starts_with("...")) return false;
  if (text.find(": ") != std::string_view::npos) return false;
  return std::all_of(text.begin(), text.end(),
                     [&](char c) {
                       const auto byte = static_cast<unsigned char>(c);
                       return byte >= 0x20 && byte < 0x7f && (kNever.find(c) == std::string_view::npos || c == '%');
                     }) &&
         text.front() != '%';
}

void append_escaped(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\u00";
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    } else {
      out += c;
    }
  }
  out += '"';
}

std::string scalar_text(std::string_view text, bool quoted) {
  if (!quoted && plain_is_safe(text)) return std::string(text);
  std::string out;
  append_escaped(out, text);
  return out;
}

std::string key_text(std::string_view key) {
  const Value as_value = Value::string(std::string(key));
  return scalar_text(key, as_value.quoted || key.find(':') != std::string_view::npos);
}

void append_flow(std::string& out, const Value& value) {
  switch (value.kind) {
    case Value::Kind::null:
    case Value::Kind::invalid: out += "null"; break;
    case Value::Kind::scalar: out += scalar_text(value.text, value.quoted); break;
    case Value::Kind::list:
      out += '[';
      for (std::size_t i = 0; i < value.items.size(); ++i) {
        if (i > 0) out += ", ";
        append_flow(out, value.items[i]);
      }
      out += ']';
      break;
    case Value::Kind::map:
      out += value.members.empty() ? "{" : "{ ";
      for (std::size_t i = 0; i < value.members.size(); ++i) {
        if (i > 0) out += ", ";
        out += concat(key_text(value.members[i].key), ": ");
        append_flow(out, value.members[i].value);
      }
      out += value.members.empty() ? "}" : " }";
      break;
  }
}

bool fits_on_line(const Value& value, std::size_t used) {
  const bool collection = value.is(Value::Kind::list) || value.is(Value::Kind::map);
  return !collection || used + write_flow(value).size() <= kWidth;
}

void append_block(std::string& out, const Value& value, std::size_t indent, bool top);

// After "key:" or "-": the rest on the same line, or a block below.
void append_below(std::string& out, const Value& value, std::size_t indent, bool list_item, std::size_t used) {
  if (fits_on_line(value, used)) {
    out += ' ';
    append_flow(out, value);
    out += '\n';
  } else if (list_item) {
    out += ' ';
    std::string block;
    append_block(block, value, indent + 2, false);
    out += std::string_view(block).substr(indent + 2);  // the first line follows the dash
  } else {
    out += '\n';
    append_block(out, value, indent + 2, false);
  }
}

void append_block(std::string& out, const Value& value, std::size_t indent, bool top) {
  const std::string margin(indent, ' ');
  for (const Value& item : value.items) {
    out += concat(margin, '-');
    append_below(out, item, indent, true, indent + 2);
  }
  for (const Value::Member& member : value.members) {
    const std::string key = key_text(member.key);
    out += concat(margin, key, ':');
    const bool named_things =
        top && member.value.is(Value::Kind::map) && !member.value.members.empty() && member.value.members[0].value.is(Value::Kind::map);
    if (named_things) {  // services and policies read better one below the other, however short
      out += '\n';
      append_block(out, member.value, indent + 2, false);
    } else {
      append_below(out, member.value, indent, false, indent + key.size() + 2);
    }
  }
}

void append_json(std::string& out, const Value& value) {
  const auto as_is = [](const Value& scalar) {
    return !scalar.quoted && (scalar.text == "true" || scalar.text == "false" || parse_integer(scalar.text).ok());
  };
  switch (value.kind) {
    case Value::Kind::null:
    case Value::Kind::invalid: out += "null"; break;
    case Value::Kind::scalar:
      if (as_is(value)) {
        out += value.text;
      } else {
        append_escaped(out, value.text);
      }
      break;
    case Value::Kind::list:
      out += '[';
      for (std::size_t i = 0; i < value.items.size(); ++i) {
        if (i > 0) out += ',';
        append_json(out, value.items[i]);
      }
      out += ']';
      break;
    case Value::Kind::map:
      out += '{';
      for (std::size_t i = 0; i < value.members.size(); ++i) {
        if (i > 0) out += ',';
        append_escaped(out, value.members[i].key);
        out += ':';
        append_json(out, value.members[i].value);
      }
      out += '}';
      break;
  }
}

bool is_collection(const Value& value) { return !value.items.empty() || !value.members.empty(); }

void append_json_indented(std::string& out, const Value& value, std::size_t indent) {
  const bool simple = value.is(Value::Kind::list) && std::none_of(value.items.begin(), value.items.end(), is_collection);
  if (!is_collection(value) || simple) return append_json(out, value);
  const std::string margin = concat('\n', std::string(indent + 2, ' '));
  const bool map = value.is(Value::Kind::map);
  out += map ? '{' : '[';
  std::string_view separator = "";
  for (const Value& item : value.items) {
    out += concat(std::exchange(separator, ","), margin);
    append_json_indented(out, item, indent + 2);
  }
  for (const Value::Member& member : value.members) {
    out += concat(std::exchange(separator, ","), margin);
    append_escaped(out, member.key);
    out += ": ";
    append_json_indented(out, member.value, indent + 2);
  }
  out += concat('\n', std::string(indent, ' '), map ? '}' : ']');
}

}  // namespace

std::string write_flow(const Value& value) {
  std::string out;
  append_flow(out, value);
  return out;
}

std::string write_yaml(const Value& value) {
  std::string out;
  const bool collection = !value.items.empty() || !value.members.empty();
  if (collection) {
    append_block(out, value, 0, true);
  } else {
    append_flow(out, value);
    out += '\n';
  }
  return out;
}

std::string write_json_indented(const Value& value) {
  std::string out;
  append_json_indented(out, value, 0);
  return out + '\n';
}

std::string write_json(const Value& value) {
  std::string out;
  append_json(out, value);
  return out;
}

}  // namespace weir::config
