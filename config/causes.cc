#include "config/causes.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace weir::config {
namespace {

struct Word {
  std::string_view text;
  Causes::Kind kind;
};
constexpr std::array<Word, 5> kKinds = {{{"connect_failure", Causes::Kind::connect_failure},
                                         {"reset", Causes::Kind::reset},
                                         {"refused_stream", Causes::Kind::refused_stream},
                                         {"timeout", Causes::Kind::timeout},
                                         {"rejected", Causes::Kind::rejected}}};

// In the order of their codes; 0 is success and no cause.
constexpr std::array<std::string_view, Causes::kGrpcCodes> kGrpc = {"",
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

std::vector<std::string_view> known_words(Rejections rejections) {
  std::vector<std::string_view> words;
  for (const Word& word : kKinds) {
    if (word.kind != Causes::Kind::rejected || rejections == Rejections::allowed) words.push_back(word.text);
  }
  words.insert(words.end(), {"gateway_error", "5xx"});
  words.insert(words.end(), kGrpc.begin() + 1, kGrpc.end());
  return words;
}

int status_of(std::string_view digits) {
  int status = 0;
  if (digits.size() != 3 || !is_digits(digits)) return 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), status);
  return status >= 100 && status < Causes::kStatuses ? status : 0;
}

Value print_words(const std::vector<std::string>& words) {
  Value out = Value::list();
  for (const std::string& word : words) out.add(Value::plain(word));
  return out;
}

Description words_description(std::string form, std::string pattern) {
  Description word;
  word.json = Description::Json::string;
  word.form = form;
  word.pattern = std::move(pattern);
  Description list;
  list.json = Description::Json::list;
  list.form = concat("list of: ", form);
  list.minimum = 1;
  list.parts = {word};
  list.single_allowed = true;
  return list;
}

// Reads a list of words, or one by itself; `add` takes each and says what is wrong with it.
template <class Add>
bool read_words(const Value& value, Reader& reader, std::string_view form, const Add& add) {
  const auto read_one = [&](const Value& word) {
    if (!reader.expect(word, Value::Kind::scalar, form)) return false;
    const std::string problem = add(word);
    if (!problem.empty()) reader.error(word.place, problem);
    return problem.empty();
  };
  if (value.is(Value::Kind::invalid)) return false;
  if (!value.is(Value::Kind::list)) return read_one(value);
  bool good = type_detail::list_length(value, reader, 1, 100);
  for (std::size_t i = 0; i < value.items.size(); ++i) {
    const auto scope = reader.enter(i);
    good = read_one(value.items[i]) && good;
  }
  return good;
}

}  // namespace

bool Causes::only_before_sending() const {
  const bool others = has(Kind::reset) || has(Kind::timeout) || has(Kind::rejected);
  return !others && !any_status() && !any_grpc();
}

bool Causes::add_statuses(std::string_view word) {
  int first = 0;
  int last = 0;
  if (word == "gateway_error") {
    first = 502;
    last = 504;
  } else if (word.size() == 3 && word.substr(1) == "xx" && word[0] >= '1' && word[0] <= '5') {
    first = (word[0] - '0') * 100;
    last = first + 99;
  } else if (word.size() == 7 && word[3] == '-') {
    first = status_of(word.substr(0, 3));
    last = status_of(word.substr(4));
  } else {
    first = last = status_of(word);
  }
  if (first == 0 || last < first) return false;
  for (int status = first; status <= last; ++status) statuses_.set(static_cast<std::size_t>(status));
  return true;
}

bool Causes::add(std::string_view word) {
  const auto kind =
      std::find_if(kKinds.begin(), kKinds.end(), [word](const Word& known) { return known.text == word; });
  const auto grpc = std::find(kGrpc.begin() + 1, kGrpc.end(), word);
  if (kind != kKinds.end()) {
    kinds_.set(static_cast<std::size_t>(kind->kind));
  } else if (grpc != kGrpc.end()) {
    grpc_.set(static_cast<std::size_t>(grpc - kGrpc.begin()));
  } else if (!add_statuses(word)) {
    return false;
  }
  words_.emplace_back(word);
  return true;
}

Causes Causes::of(std::initializer_list<const char*> words) {
  Causes causes;
  for (const char* word : words) CHECK(causes.add(word));
  return causes;
}

Type<Causes> causes(Rejections rejections) {
  const bool may_reject = rejections == Rejections::allowed;
  const std::string form = concat(
      "connect_failure, reset, refused_stream, timeout, ", may_reject ? "rejected, " : "",
      "gateway_error, 5xx, a status such as 503, a range such as 500-503, or grpc_unavailable and the like");
  auto read = [form, rejections, may_reject](const Value& value, Reader& reader, Causes& out) {
    out = Causes();
    return read_words(value, reader, form, [&](const Value& word) -> std::string {
      if (word.text == "rejected" && !may_reject) return "what weir rejected itself is no cause here";
      if (out.add(word.text)) return {};
      const std::string hint = did_you_mean(word.text, known_words(rejections));
      return concat("unknown cause ", word.shown(), hint.empty() ? concat("; expected ", form) : hint);
    });
  };
  return Type<Causes>(words_description(form, "^([a-z_]+|[1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$"),
                      std::move(read), [](const Causes& value) { return print_words(value.words()); });
}

bool Statuses::add(std::string_view word) {
  if (word.empty() || word[0] < '1' || word[0] > '5') return false;
  return causes_.add(word);
}

Type<Statuses> statuses() {
  const std::string form = "a status such as 503, a range such as 500-503, or a class such as 5xx";
  auto read = [form](const Value& value, Reader& reader, Statuses& out) {
    out = Statuses();
    return read_words(value, reader, form, [&](const Value& word) -> std::string {
      return out.add(word.text) ? std::string() : concat("expected ", form, ", got ", word.shown());
    });
  };
  return Type<Statuses>(words_description(form, "^([1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$"),
                        std::move(read), [](const Statuses& value) { return print_words(value.words()); });
}

}  // namespace weir::config
