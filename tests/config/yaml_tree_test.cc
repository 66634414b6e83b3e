#include "config/yaml_tree.h"

#include <catch2/catch.hpp>

#include "config/write.h"

namespace weir::config {
namespace {

struct Parsed {
  Value root;
  std::string said;
};

Parsed parse(std::string_view text) {
  Files files;
  const std::uint16_t file = files.add("t.yaml");
  Diagnostics diagnostics;
  Parsed parsed;
  parsed.root = parse_yaml(text, file, diagnostics);
  parsed.said = diagnostics.print(files);
  return parsed;
}

std::string at(Place place) { return concat(place.line, ':', place.column); }

TEST_CASE("keys and values know their line and column, from one") {
  const Parsed parsed = parse("a: 1\nb:\n  - x\n  - { c: \"y\", d: [z] }\n");
  REQUIRE(parsed.said.empty());
  const Value::Member& a = parsed.root.members[0];
  const Value::Member& b = parsed.root.members[1];
  CHECK(at(a.place) == "1:1");
  CHECK(at(a.value.place) == "1:4");
  CHECK(at(b.place) == "2:1");
  CHECK(at(b.value.place) == "3:3");
  CHECK(at(b.value.items[0].place) == "3:5");
  const Value& flow = b.value.items[1];
  CHECK(at(flow.place) == "4:5");
  CHECK(at(flow.members[0].place) == "4:7");
  CHECK(at(flow.members[0].value.place) == "4:10");
  CHECK(flow.members[0].value.quoted);
  CHECK(at(flow.members[1].value.items[0].place) == "4:19");
}

TEST_CASE("columns count characters, lines end with or without a carriage return, a byte order mark is skipped") {
  CHECK(at(parse("\"\xc3\xa4\xe2\x82\xac\": 1").root.members[0].value.place) == "1:7");
  CHECK(at(parse("a: 1\r\nb: 2\r\n").root.members[1].value.place) == "2:4");
  CHECK(at(parse("\xef\xbb\xbf"
                 "a: 1\n")
               .root.members[0]
               .value.place) == "1:4");
}

TEST_CASE("an empty value is placed at its key, a written null where it stands") {
  const Parsed parsed = parse("a:\n\n\nb: ~\nc:\n  - x\n  -\n  - null\nd: 1\n");
  REQUIRE(parsed.said.empty());
  CHECK(parsed.root.members[0].value.is(Value::Kind::null));
  CHECK(at(parsed.root.members[0].value.place) == "1:1");
  CHECK(at(parsed.root.members[1].value.place) == "4:4");
  CHECK(at(parsed.root.members[2].value.items[1].place) == "6:5");
  CHECK(at(parsed.root.members[2].value.items[2].place) == "8:5");
}

TEST_CASE("a duplicate key is reported once, with the line of the first, and its value is dropped in silence") {
  const Parsed parsed = parse("s:\n  p: 1\n  q: 2\n  p: { x: 1, x: yes }\n");
  CHECK(parsed.said == "t.yaml:4:3: error: s.p: duplicate key, first at line 2\n");
  CHECK(write_flow(parsed.root) == "{ s: { p: 1, q: 2 } }");
}

TEST_CASE("what configuration does not know of YAML is refused with its place") {
  CHECK(parse("a: &x 1\nb: *x\n").said ==
        "t.yaml:1:4: error: a: anchors are not supported; share filters by `use: policy`\n"
        "t.yaml:2:4: error: b: aliases are not supported; write the value out, or share filters by `use: "
        "policy`\n");
  CHECK(parse("a: { <<: { b: 1 } }\n").said == "t.yaml:1:6: error: a.<<: merge keys are not supported; share filters by `use: policy`\n");
  CHECK(parse("a: !!int 1\n").said == "t.yaml:1:4: error: a: tags are not supported, got tag:yaml.org,2002:int\n");
  CHECK(parse("a: 1\n---\nb: 2\n").said == "t.yaml:2:1: error: a second document; a configuration is one document\n");
  CHECK(parse("a: 1\n? [b]\n: 2\n").said == "t.yaml:2:3: error: a key must be text\n");
}

TEST_CASE("words that are booleans to YAML 1.1 tools are neither keys nor values, unless quoted") {
  CHECK(parse("a: yes\nb: [On, \"off\"]\n").said ==
        "t.yaml:1:4: error: a: yes is a boolean to YAML 1.1 tools; write true or false, or put the text in "
        "quotes\n"
        "t.yaml:2:5: error: b[0]: On is a boolean to YAML 1.1 tools; write true or false, or put the text in "
        "quotes\n");
  CHECK(parse("m:\n  no: 1\n").said == "t.yaml:2:3: error: m.no: a boolean to YAML 1.1 tools cannot be a key; choose another name\n");
  CHECK(parse("a: [\"yes\", 'no', only, nothing, onto]\n").said.empty());
  CHECK(parse("a: yes\n").root.members[0].value.is(Value::Kind::invalid));
}

TEST_CASE("syntax errors carry the place where the parser gave up") {
  CHECK(parse("a: 1\nb:\n\t- x\n").said == "t.yaml:3:1: error: a tab in the indentation; use spaces\n");
  CHECK(parse("a: [1, 2\n").said.find("t.yaml:2:1: error: not valid YAML: end of sequence flow not found") == 0);
  CHECK(parse("a: b: c\n").said == "t.yaml:1:5: error: not valid YAML: illegal map value\n");
  CHECK(parse("a: { b: ${env:X} }\n").said == "t.yaml:1:9: error: within [ ] and { } write \"${...}\" in quotes\n");
  CHECK(parse("a: *nowhere\n").said.find("t.yaml:1:4: error: ") == 0);
}

TEST_CASE("bytes that are no text are refused before the parser sees them") {
  CHECK(parse(std::string_view("a: 1\nb: \0x\n", 11)).said == "t.yaml:2:4: error: not text: a control character\n");
  CHECK(parse("a: \x04 hidden: 1\n").said == "t.yaml:1:4: error: not text: a control character\n");
  CHECK(parse("a: \xc3\x28\n").said == "t.yaml:1:4: error: not text: not UTF-8\n");
  CHECK(parse("a: \xed\xa0\x80\n").said == "t.yaml:1:4: error: not text: not UTF-8\n");
  CHECK(parse("a: \"\\_\"\n").said == "t.yaml:1:4: error: a: not text: not UTF-8\n");
  CHECK(parse("a: 1\rb: 2\n").said == "t.yaml:1:5: error: not text: a control character\n");
  CHECK(parse("\xff\xfe"
              "a")
            .said == "t.yaml:1:1: error: not text: not UTF-8\n");
}

TEST_CASE("depth, size and the number of values are bounded") {
  CHECK(parse("a: " + std::string(63, '[') + std::string(63, ']') + "\n").said.empty());
  CHECK(parse("a: " + std::string(64, '[') + std::string(64, ']') + "\n").said == "t.yaml:1:67: error: nested deeper than 64 levels\n");
  CHECK(parse(std::string(100'000, '[')).said.find("error: ") != std::string::npos);
  CHECK(parse(std::string(100'000, '{')).said.find("error: ") != std::string::npos);
  CHECK(parse("a: " + std::string(kMostYamlBytes, 'x')).said == "t.yaml:1:1: error: the file is larger than 4MiB\n");
  std::string many = "a: [";
  for (std::size_t i = 0; i <= kMostYamlNodes; ++i) many += "1,";
  CHECK(parse(many + "]\n").said.find("more than 200000 values") != std::string::npos);
}

TEST_CASE("nothing is an empty tree") {
  CHECK(parse("").root.is(Value::Kind::null));
  CHECK(parse("# only a comment\n").root.is(Value::Kind::null));
  CHECK(parse("").said.empty());
}

TEST_CASE("what is written as YAML is read back as the same tree") {
  Value root = Value::map();
  Value list = Value::list();
  for (const char* text : {"plain",    "a: b", "",    " x ",  "#c",   "yes",       "null",
                           "~",        "-",    "- a", "{x}",  "[",    "*a",        "&a",
                           "!t",       "%d",   "@a",  "`",    "a\nb", "tab\there", "quote\"back\\slash",
                           "\xc3\xa4", "12",   "0x1", "true", "a,b",  "a:",        ":a",
                           "?",        "---",  "=",   "<<",   "x #y", "5xx",       "'"})
    list.add(Value::string(text));
  root.add("list", list);
  Value map = Value::map();
  for (const char* key : {"plain", "a: b", "yes", "", "1", "a:b", "\n"}) map.add(key, Value::map());
  root.add("map", map);
  Value wide = Value::list();
  for (int i = 0; i < 3; ++i) {
    Value item = Value::map();
    item.add("long", Value::string(std::string(80, 'x')));
    item.add("longer", list);
    wide.add(item);
  }
  root.add("wide", wide);
  const std::string text = write_yaml(root);
  const Parsed parsed = parse(text);
  CHECK(parsed.said.empty());
  CHECK(write_json(parsed.root) == write_json(root));
  CHECK(write_yaml(parsed.root) == text);
}

}  // namespace
}  // namespace weir::config
