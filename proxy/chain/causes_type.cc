#include "proxy/chain/causes_type.h"

#include <array>

#include "proxy/base/check.h"

namespace weir {
namespace {

using config::Description;
using config::Reader;
using config::Type;
using config::Value;

constexpr std::array<std::string_view, 25> kWords = {"connect_failure",
                                                     "reset",
                                                     "refused_stream",
                                                     "timeout",
                                                     "rejected",
                                                     "5xx",
                                                     "gateway_error",
                                                     "4xx",
                                                     "3xx",
                                                     "grpc_cancelled",
                                                     "grpc_unknown",
                                                     "grpc_invalid_argument",
                                                     "grpc_deadline_exceeded",
                                                     "grpc_not_found",
                                                     "grpc_already_exists",
                                                     "grpc_permission_denied",
                                                     "grpc_resource_exhausted",
                                                     "grpc_failed_precondition",
                                                     "grpc_aborted",
                                                     "grpc_out_of_range",
                                                     "grpc_unimplemented",
                                                     "grpc_internal",
                                                     "grpc_unavailable",
                                                     "grpc_data_loss",
                                                     "grpc_unauthenticated"};

std::string form(Rejections rejections) {
  return concat("connect_failure, reset, refused_stream, timeout, ", rejections == Rejections::allowed ? "rejected, " : "",
                "gateway_error, 5xx, a status such as 503, a range such as 500-503, or grpc_unavailable and the like");
}

Description describe(Rejections rejections) {
  Description word;
  word.json = Description::Json::string;
  word.form = form(rejections);
  for (const std::string_view known : kWords) {
    if (known != "rejected" || rejections == Rejections::allowed) word.values.emplace_back(known);
  }
  word.pattern = "^([1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$";
  word.minimum = 100;
  word.maximum = 599;
  Description list;
  list.json = Description::Json::list;
  list.form = concat("list of: ", word.form);
  list.minimum = 1;
  list.parts = {word};
  list.single_allowed = true;
  return list;
}

bool read_word(const Value& value, Reader& reader, Rejections rejections, Causes& out) {
  if (!reader.expect(value, Value::Kind::scalar, "a cause")) return false;
  if (value.text == "rejected" && rejections == Rejections::refused) {
    reader.error(value.place, "what weir rejected itself is no cause here");
    return false;
  }
  const Result<Causes> cause = Causes::parse_word(value.text);
  if (cause) {
    out.add(cause.value());
    return true;
  }
  const std::vector<std::string_view> known(kWords.begin(), kWords.end());
  const std::string hint = value.origin.empty() ? config::did_you_mean(value.text, known) : std::string();
  reader.error(value.place, concat("unknown cause, got ", value.shown(), hint.empty() ? "; expected " : hint,
                                   hint.empty() ? form(rejections) : std::string()));
  return false;
}

bool read_causes(const Value& value, Reader& reader, Rejections rejections, Causes& out) {
  out = Causes();
  if (value.is(Value::Kind::invalid)) return false;
  if (!value.is(Value::Kind::list)) return read_word(value, reader, rejections, out);
  constexpr std::size_t kMost = 100;
  bool good = config::type_detail::list_length(value, reader, 1, kMost);
  for (std::size_t i = 0; i < value.items.size() && i < kMost; ++i) {
    const auto scope = reader.enter(i);
    good = read_word(value.items[i], reader, rejections, out) && good;
  }
  return good;
}

// Adds `word` to both when everything that it means is in `causes` and not yet in `said`.
void say_if_meant(const std::string& word, const Causes& causes, Causes& said, std::vector<std::string>& words) {
  const Result<Causes> meaning = Causes::parse_word(word);
  if (!meaning || meaning.value().empty()) return;
  Causes with = causes;
  with.add(meaning.value());
  Causes more = said;
  more.add(meaning.value());
  if (!(with == causes) || more == said) return;
  said = more;
  words.push_back(word);
}

}  // namespace

Causes causes_of(std::initializer_list<const char*> words) {
  Causes causes;
  for (const char* word : words) {
    const Result<Causes> one = Causes::parse_word(word);
    CHECK(one.ok());
    causes.add(one.value());
  }
  return causes;
}

std::vector<std::string> words_of(const Causes& causes) {
  std::vector<std::string> words;
  Causes said;
  for (const std::string_view word : kWords) say_if_meant(std::string(word), causes, said, words);
  for (int first = 100; first < 600; ++first) {
    if (!causes.matches_status(first) || said.matches_status(first)) continue;
    int last = first;
    while (last + 1 < 600 && causes.matches_status(last + 1) && !said.matches_status(last + 1)) ++last;
    say_if_meant(first == last ? concat(first) : concat(first, '-', last), causes, said, words);
    first = last;
  }
  return words;
}

Type<Causes> causes_type(Rejections rejections) {
  return Type<Causes>(
      describe(rejections),
      [rejections](const Value& value, Reader& reader, Causes& out) { return read_causes(value, reader, rejections, out); },
      [](const Causes& causes) {
        Value out = Value::list();
        for (const std::string& word : words_of(causes)) out.add(Value::plain(word));
        return out;
      });
}

}  // namespace weir
