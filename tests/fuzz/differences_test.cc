// The intended differences between our HTTP/1 parsers and llhttp: the table in h1_differences.cc, the list in README.md, the messages in
// corpus/h1_differences and the places in the code all say the same.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "proxy/base/text.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/fuzz/h1_compare.h"
#include "tests/fuzz/h1_differences.h"

namespace weir {

namespace {

const std::string kFolder = WEIR_SOURCE_DIR "/tests/fuzz/";

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

// The first `code` of each row of the table in README.md, with the row.
std::map<std::string, std::string> rows_of_readme() {
  std::map<std::string, std::string> rows;
  const std::string page = read(kFolder + "README.md");
  const std::string text = page.substr(page.find("## Intended differences"));
  for (const std::string_view line : lines_of(text, text.size())) {
    if (!line.starts_with("| `")) continue;
    const std::size_t end = line.find('`', 3);
    rows.emplace(line.substr(3, end - 3), line);
  }
  return rows;
}

}  // namespace

TEST_CASE("every intended difference has a message that shows it, and shows nothing else") {
  std::set<std::string> shown;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder + "corpus/h1_differences")) {
    const std::string name = entry.path().stem();
    INFO(entry.path());
    const std::string text = read(entry.path());
    const std::string kind = entry.path().extension();  // .request, .response, or .to_head: a response to HEAD
    const std::vector<Method> asked(kind == ".to_head" ? 1 : 0, Method::head);
    const Comparison result = compare_readings({text, kind != ".request", asked});
    INFO(result.unexplained);
    CHECK(result.unexplained.empty());
    REQUIRE(result.shown.size() == 1);
    CHECK(result.shown[0]->name == name);
    shown.emplace(result.shown[0]->name);
  }
  for (const Difference& row : intended_differences()) {
    INFO(row.name);
    CHECK(shown.count(std::string(row.name)) == 1);
  }
}

TEST_CASE("README.md lists the intended differences: source, side and place of each, and no others") {
  std::map<std::string, std::string> rows = rows_of_readme();
  for (const Difference& row : intended_differences()) {
    const auto found = rows.find(std::string(row.name));
    INFO(row.name);
    REQUIRE(found != rows.end());
    const std::string_view side = row.stricter == Difference::Stricter::we     ? "| we |"
                                  : row.stricter == Difference::Stricter::they ? "| llhttp |"
                                                                               : "| neither |";
    CHECK(found->second.find(row.source) != std::string::npos);
    CHECK(found->second.find(side) != std::string::npos);
    CHECK(found->second.find(row.place) != std::string::npos);
    rows.erase(found);
  }
  for (const auto& [name, row] : rows) FAIL("not among the differences: " + name);
}

TEST_CASE("the place that a difference names is there") {
  for (const Difference& row : intended_differences()) {
    const std::string_view place = row.place;
    const std::size_t in = place.find(" in ");
    const std::string file(in == std::string_view::npos ? place : place.substr(in + 4));
    const std::string what = in == std::string_view::npos && row.shows == nullptr
                                 ? concat('"', row.name, '"')
                                 : std::string(place.substr(0, in == std::string_view::npos ? 0 : in));
    INFO(row.name);
    CHECK(read(concat(WEIR_SOURCE_DIR "/", file)).find(what) != std::string::npos);
  }
}

TEST_CASE("a difference that is on no list is told with both readings") {
  BothReadings read("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, Method::get, compared_limits());
  CHECK(disagreement(read).empty());
  CHECK(explain(read) == nullptr);
  read.theirs.target = "/other";
  CHECK(disagreement(read) == "the target");
  read.theirs.target = "/";
  read.theirs.body = "x";
  CHECK(disagreement(read) == "the body");
  read.theirs.body.clear();
  read.theirs.fields.emplace_back("x-more", "1");
  CHECK(disagreement(read) == "the fields");
  read.theirs.fields.pop_back();
  read.theirs.used -= 1;
  CHECK(disagreement(read) == "the end");
  read.theirs.complete = false;
  CHECK(disagreement(read) == "they see no end where we see one");
  CHECK(explain(read) == nullptr);
}

}  // namespace weir
