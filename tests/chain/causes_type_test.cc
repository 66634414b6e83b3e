#include "proxy/chain/causes_type.h"

#include <catch2/catch.hpp>

namespace weir {
namespace {

using config::Value;

std::string joined(const Causes& causes) {
  std::string out;
  for (const std::string& word : words_of(causes)) out += concat(out.empty() ? "" : " ", word);
  return out;
}

// What the type says of a value, and the causes that it read.
std::string said(const Value& value, Causes& out, Rejections rejections = Rejections::refused) {
  config::Files files;
  config::Diagnostics diagnostics;
  config::Reader reader(diagnostics, "causes");
  const bool good = causes_type(rejections).read(value, reader, out);
  std::string text = diagnostics.print(files);
  CHECK(good == text.empty());
  return text;
}

TEST_CASE("causes print as the fewest words that read back as the same") {
  CHECK(joined(causes_of({"5xx", "503", "gateway_error", "reset"})) == "reset 5xx");
  CHECK(joined(causes_of({"503", "502", "504"})) == "gateway_error");
  CHECK(joined(causes_of({"500", "501", "502", "429"})) == "429 500-502");
  CHECK(joined(causes_of({"grpc_unavailable", "timeout", "connect_failure"})) == "connect_failure timeout grpc_unavailable");
  CHECK(joined(Causes()).empty());
  for (const auto& words :
       {causes_of({"4xx", "599", "gateway_error"}), causes_of({"100", "refused_stream"}), causes_of({"3xx", "299-300"})}) {
    Causes again;
    CHECK(said(causes_type().print(words), again).empty());
    CHECK(again == words);
  }
}

TEST_CASE("a single cause needs no list") {
  Causes causes;
  CHECK(said(Value::plain("5xx"), causes).empty());
  CHECK(causes == causes_of({"5xx"}));
}

TEST_CASE("each wrong cause is reported, with the nearest word") {
  Value list = Value::list();
  for (const char* word : {"conect_failure", "reset", "rejected", "6xx", "503-500"}) list.add(Value::plain(word));
  list.add(Value::map());
  Causes causes;
  const std::string text = said(list, causes);
  CHECK(text.find("causes[0]: unknown cause, got conect_failure; did you mean connect_failure?\n") != std::string::npos);
  CHECK(text.find("causes[1]") == std::string::npos);
  CHECK(text.find("causes[2]: what weir rejected itself is no cause here\n") != std::string::npos);
  CHECK(text.find("causes[3]: unknown cause, got 6xx") != std::string::npos);
  CHECK(text.find("causes[4]: unknown cause, got 503-500") != std::string::npos);
  CHECK(text.find("causes[5]: expected a cause, got a map\n") != std::string::npos);
}

TEST_CASE("rejected is a cause where a filter says so") {
  Causes causes;
  CHECK(said(Value::plain("rejected"), causes, Rejections::allowed).empty());
  CHECK_FALSE(causes.empty());
}

TEST_CASE("an empty list of causes is an error") {
  Causes causes;
  CHECK(said(Value::list(), causes) == "-: error: causes: expected at least one item, got an empty list\n");
}

}  // namespace
}  // namespace weir
