#include "tests/fuzz/h1_differences.h"

#include <algorithm>
#include <array>

#include "tests/fuzz/plain_fields.h"

namespace weir {

namespace {

using Stricter = Difference::Stricter;

bool they_refuse(const BothReadings& read, std::initializer_list<std::string_view> errors) {
  return read.complete() && !read.theirs.complete && std::find(errors.begin(), errors.end(), read.theirs.error) != errors.end();
}

bool has_field(const OracleFields& fields, std::string_view name) {
  return std::any_of(fields.begin(), fields.end(), [&](const auto& field) { return field.first == name; });
}

std::size_t end_of_head(const BothReadings& read) { return read.input.find("\r\n\r\n", read.input.starts_with("\r\n") ? 2 : 0); }

bool is_chunked(const BothReadings& read) { return read.complete() && read.ours->framing().body == BodyFraming::chunked; }

// The line of the input that their error stands in, from its first byte to the error.
std::string_view line_to_error(const BothReadings& read) {
  const std::string_view before = read.input.substr(0, read.theirs.error_at);
  const std::size_t feed = before.rfind('\n');
  return feed == std::string_view::npos ? before : before.substr(feed + 1);
}

bool shows_method(const BothReadings& read) { return !read.response && they_refuse(read, {"HPE_INVALID_METHOD"}); }

bool shows_chunk_extension(const BothReadings& read) {
  return is_chunked(read) && they_refuse(read, {"HPE_STRICT", "HPE_INVALID_CHUNK_SIZE"}) && read.theirs.error_at > end_of_head(read) &&
         line_to_error(read).find(';') != std::string_view::npos;
}

bool shows_framing_trailer(const BothReadings& read) {
  return is_chunked(read) && read.theirs.body == read.ours->body() && read.theirs.error_at > end_of_head(read) &&
         they_refuse(read, {"HPE_INVALID_TRANSFER_ENCODING", "HPE_UNEXPECTED_CONTENT_LENGTH", "HPE_INVALID_CONTENT_LENGTH"});
}

bool shows_closing_trailer(const BothReadings& read) {
  return is_chunked(read) && read.theirs.complete && read.theirs.used == read.used() && read.theirs.body == read.ours->body() &&
         read.theirs.keep_alive != read.ours->keep_alive() &&
         (has_field(read.theirs.trailers, "connection") || has_field(read.theirs.trailers, "proxy-connection") ||
          has_field(read.theirs.trailers, "transfer-encoding"));
}

bool shows_length_tab(const BothReadings& read) {
  return they_refuse(read, {"HPE_INVALID_CONTENT_LENGTH"}) && read.theirs.error_at < end_of_head(read) &&
         read.input[read.theirs.error_at] == '\t';
}

bool shows_coding_tab(const BothReadings& read) {
  const auto has_tab = [](const auto& field) { return field.first == "transfer-encoding" && field.second.find('\t') != std::string::npos; };
  return std::any_of(read.theirs.fields.begin(), read.theirs.fields.end(), has_tab);
}

bool shows_proxy_connection(const BothReadings& read) {
  return read.complete() && read.theirs.complete && read.theirs.keep_alive != read.ours->keep_alive() &&
         has_field(read.theirs.fields, "proxy-connection");
}

bool shows_close_option(const BothReadings& read) {
  if (!read.complete() || !read.theirs.complete || read.theirs.keep_alive == read.ours->keep_alive()) return false;
  const auto differs = [&](const auto& field) {
    if (field.first != "connection") return false;
    if (field.second.find('\t') != std::string::npos) return true;
    const std::vector<std::string> options = plain::elements(plain::lower(field.second));
    return read.theirs.keep_alive && std::find(options.begin(), options.end(), "close") != options.end();
  };
  return std::any_of(read.theirs.fields.begin(), read.theirs.fields.end(), differs);
}

bool shows_bodiless_status(const BothReadings& read) {
  if (!read.response || !read.complete()) return false;
  const int status = read.ours->response().status;
  const bool framed = has_field(read.theirs.fields, "content-length") || has_field(read.theirs.fields, "transfer-encoding");
  return (status < 200 || status == 204 || status == 304) && framed;
}

constexpr std::string_view kRules = "proxy/http/framing_rules.h";

// Rows without a function: a rule of framing_rules.h of that name, and llhttp takes what it refuses.
constexpr std::array kDifferences = {
    // --- We are stricter ---
    Difference{"bare-lf", "RFC 9112 2.2, 11.2", Stricter::we, kRules, nullptr},
    Difference{"bare-cr", "RFC 9112 2.2", Stricter::we, kRules, nullptr},
    Difference{"empty-lines", "RFC 9112 2.2", Stricter::we, kRules, nullptr},
    Difference{"request-line", "RFC 9112 3", Stricter::we, kRules, nullptr},
    Difference{"version-unknown", "RFC 9110 15.6.6", Stricter::we, kRules, nullptr},
    Difference{"target-characters", "RFC 9112 3.2", Stricter::we, kRules, nullptr},
    Difference{"target-form", "RFC 9112 3.2", Stricter::we, kRules, nullptr},
    Difference{"asterisk-form", "RFC 9112 3.2.4", Stricter::we, kRules, nullptr},
    Difference{"authority-form", "RFC 9112 3.2.3", Stricter::we, kRules, nullptr},
    Difference{"userinfo", "RFC 9110 4.2.4", Stricter::we, kRules, nullptr},
    Difference{"target-too-long", "RFC 9110 15.5.15", Stricter::we, kRules, nullptr},
    Difference{"field-name", "RFC 9112 5.1", Stricter::we, kRules, nullptr},
    Difference{"obs-fold", "RFC 9112 5.2", Stricter::we, kRules, nullptr},
    Difference{"field-value", "RFC 9110 5.5", Stricter::we, kRules, nullptr},
    Difference{"head-too-large", "RFC 6585 5", Stricter::we, kRules, nullptr},
    Difference{"too-many-fields", "RFC 6585 5", Stricter::we, kRules, nullptr},
    Difference{"expectation-unknown", "RFC 9110 10.1.1", Stricter::we, kRules, nullptr},
    Difference{"host-missing", "RFC 9112 3.2", Stricter::we, kRules, nullptr},
    Difference{"host-repeated", "RFC 9112 3.2", Stricter::we, kRules, nullptr},
    Difference{"host-characters", "RFC 9112 3.2", Stricter::we, kRules, nullptr},
    Difference{"encoding-value", "RFC 9112 6.1", Stricter::we, kRules, nullptr},
    Difference{"encoding-unknown", "RFC 9112 6.1", Stricter::we, kRules, nullptr},
    Difference{"encoding-on-http10", "RFC 9112 6.1", Stricter::we, kRules, nullptr},
    Difference{"length-overflow", "RFC 9110 8.6", Stricter::we, kRules, nullptr},
    Difference{"connect-body", "RFC 9110 9.3.6", Stricter::we, kRules, nullptr},
    Difference{"chunk-overflow", "RFC 9112 7.1", Stricter::we, kRules, nullptr},
    Difference{"chunk-extension", "RFC 9110 5.6.4", Stricter::we, kRules, nullptr},
    Difference{"chunk-extension-too-long", "RFC 9112 7.1.1", Stricter::we, kRules, nullptr},
    Difference{"trailers-too-large", "RFC 9112 7.1.2", Stricter::we, kRules, nullptr},
    Difference{"status-line", "RFC 9112 4", Stricter::we, kRules, nullptr},
    Difference{"status-code", "RFC 9110 15", Stricter::we, kRules, nullptr},
    Difference{"response-version", "RFC 9112 2.3", Stricter::we, kRules, nullptr},
    Difference{"unasked-switch", "RFC 9110 15.2.2", Stricter::we, kRules, nullptr},
    // --- They are stricter ---
    Difference{"any-method", "RFC 9110 9.1", Stricter::they, "kMethod in proxy/http/framing_rules.h", shows_method},
    Difference{"any-chunk-extension", "RFC 9112 7.1.1", Stricter::they, "proxy/http/h1_body.cc", shows_chunk_extension},
    Difference{"framing-trailer", "RFC 9110 6.5.1", Stricter::they, "may_be_trailer in proxy/http/framing_rules.cc", shows_framing_trailer},
    Difference{"length-tab", "RFC 9110 5.6.3", Stricter::they, "proxy/http/h1_parser.cc", shows_length_tab},
    // --- Both take it, and see something else in it ---
    Difference{"coding-tab", "RFC 9110 5.6.3", Stricter::neither, "proxy/http/h1_parser.cc", shows_coding_tab},
    Difference{"proxy-connection", "RFC 9112 C.2.2", Stricter::neither, "kHopByHop in proxy/http/hop_headers.cc", shows_proxy_connection},
    Difference{"closing-trailer", "RFC 9110 6.5.1", Stricter::neither, "may_be_trailer in proxy/http/framing_rules.cc",
               shows_closing_trailer},
    Difference{"close-option", "RFC 9112 9.3", Stricter::neither, "take_connection_fields in proxy/http/hop_headers.cc",
               shows_close_option},
    Difference{"bodiless-status", "RFC 9112 6.3", Stricter::neither, "frame_response in proxy/http/framing_rules.cc",
               shows_bodiless_status},
};

}  // namespace

std::span<const Difference> intended_differences() { return kDifferences; }

const Difference* explain(const BothReadings& read) {
  for (const Difference& row : kDifferences) {
    const bool shown =
        row.shows != nullptr ? row.shows(read) : read.refused() && read.theirs.complete && read.ours->broken()->name == row.name;
    if (shown) return &row;
  }
  return nullptr;
}

}  // namespace weir
