#include "proxy/http/h1_parser.h"

#include <algorithm>
#include <cstring>

#include "proxy/base/check.h"
#include "proxy/http/byte_scan.h"
#include "proxy/http/hop_headers.h"

namespace weir {

// --- HeadFinder ------------------------------------------------------------------------------------------------------

bool HeadFinder::line_too_long(const HttpLimits& limits) const {
  return kind_ == SectionKind::request && first_line_ && line_ > limits.target_bytes + kRequestLineSlack;
}

// A line feed was the last byte of `line_` bytes.
HeadFinder::Found HeadFinder::end_of_line(bool after_cr, const HttpLimits& limits) {
  if (line_too_long(limits)) return bad(rules::kTargetTooLong);
  if (!after_cr) return bad(rules::kBareLf);
  const bool empty = line_ == 2;
  line_ = 0;
  if (!empty) {
    first_line_ = false;
    return Found::more;
  }
  if (!first_line_ || kind_ == SectionKind::trailers) return Found::end;
  if (skipped_ > 0) return bad(rules::kEmptyLines);
  skipped_ = 2;
  return Found::more;
}

HeadFinder::Found HeadFinder::feed(ByteView bytes, const HttpLimits& limits, std::size_t& used) {
  used = 0;
  if (bytes.empty()) return Found::more;
  if (size_ == 0) {  // told at once: a peer that speaks another protocol may never send a line feed
    const char first = static_cast<char>(bytes[0]);
    const bool may_begin = is_token_byte(first) || first == '\r' || first == '\n';
    if (kind_ == SectionKind::request && !may_begin) return bad(rules::kNotHttp);
    if (kind_ == SectionKind::response && first != 'H') return bad(rules::kStatusLine);
  }
  // One byte more than the limit at most is looked at, so that the verdict is the same however the bytes were
  // cut.
  const std::size_t room = limits.header_bytes + 1 - std::min<std::size_t>(size_, limits.header_bytes + 1);
  const std::uint8_t* const begin = bytes.data();
  const std::uint8_t* const end = begin + std::min(bytes.size(), room);
  const std::uint8_t* at = begin;
  Found result = Found::more;
  for_each_line_feed(begin, end, [&](const std::uint8_t* feed) {
    const bool after_cr = feed > begin ? feed[-1] == '\r' : last_was_cr_;
    const auto line = static_cast<std::uint32_t>(feed + 1 - at);
    line_ += line;
    size_ += line;
    at = feed + 1;
    if (size_ > limits.header_bytes) return false;
    if (after_cr && line_ > 2 && !first_line_) {  // a field
      line_ = 0;
      return true;
    }
    result = end_of_line(after_cr, limits);
    return result == Found::more;
  });
  used = static_cast<std::size_t>(at - begin);
  if (result != Found::more) return result;
  line_ += static_cast<std::uint32_t>(end - at);
  size_ += static_cast<std::uint32_t>(end - at);
  used = static_cast<std::size_t>(end - begin);
  if (used > 0) last_was_cr_ = end[-1] == '\r';
  if (line_too_long(limits)) return bad(rules::kTargetTooLong);
  if (size_ > limits.header_bytes) {
    if (kind_ == SectionKind::trailers) return bad(rules::kTrailersTooLarge);
    return bad(kind_ == SectionKind::request && first_line_ ? rules::kTargetTooLong : rules::kHeadTooLarge);
  }
  return Found::more;
}

// --- Fields ----------------------------------------------------------------------------------------------------------

namespace {

class FieldParser {
 public:
  FieldParser(char* at, const char* readable, const HttpLimits& limits, Headers& headers)
      : at_(at), readable_(readable), limit_(limits.headers), headers_(headers) {}

  // Calls keep(field) for each; what it answers (true) is added to the headers.
  template <class Keep>
  const Rule* parse(const Keep& keep) {
    while (*at_ != '\r' || at_[1] != '\n') {
      HeaderField field;
      if (const Rule* broken = parse_line(field)) return broken;
      if (++count_ > limit_) return &rules::kTooManyFields;
      if (keep(field)) headers_.add_view(field);
    }
    return nullptr;
  }

 private:
  const Rule* parse_line(HeaderField& field) {
    char* const name = at_;
    at_ = fold_name(at_, readable_);
    if (*at_ != ':' || at_ == name) return bad_name(name);
    field.name = {name, static_cast<std::size_t>(at_ - name)};
    field.id = header_id(field.name);
    const char* const one_space = at_ + 2;
    do ++at_;
    while (*at_ == ' ' || *at_ == '\t');
    char* const value = at_;
    at_ = end_of_value(at_, readable_);
    if (*at_ != '\r') return &rules::kFieldValue;
    if (at_[1] != '\n') return &rules::kBareCr;
    const char* last = at_;
    while (last > value && (last[-1] == ' ' || last[-1] == '\t')) --last;
    field.value = {value, static_cast<std::size_t>(last - value)};
    field.is_line = value == one_space && value[-1] == ' ' && last == at_;
    at_ += 2;
    return nullptr;
  }

  const Rule* bad_name(const char* name) const {
    if (*at_ == ' ' || *at_ == '\t') return at_ == name ? &rules::kObsFold : &rules::kSpaceAroundName;
    return *at_ == '\r' && at_[1] != '\n' ? &rules::kBareCr : &rules::kFieldName;
  }

  char* at_;
  const char* readable_;
  std::size_t limit_;
  std::size_t count_ = 0;
  Headers& headers_;
};

void note_framing(const HeaderField& field, FramingFields& framing) {
  if (field.id == HeaderId::content_length) {
    framing.length = field.value;
    ++framing.lengths;
  } else {
    framing.encoding = field.value;
    ++framing.encodings;
  }
}

// --- The request line ------------------------------------------------------------------------------------------------

// scheme "://" authority [path] ["?" query] of http and https; no other scheme is ours to fetch.
const Rule* parse_absolute_form(std::string_view target, RequestHead& request) {
  const std::size_t colon = target.find("://");
  if (colon == std::string_view::npos) return &rules::kTargetForm;
  const std::string_view scheme = target.substr(0, colon);
  if (equals_ignoring_case(scheme, "http")) {
    request.scheme = "http";
  } else if (equals_ignoring_case(scheme, "https")) {
    request.scheme = "https";
  } else {
    return &rules::kTargetForm;
  }
  const std::string_view rest = target.substr(colon + 3);
  const std::size_t path = std::min(rest.find_first_of("/?"), rest.size());
  request.authority = rest.substr(0, path);
  if (const Rule* broken = check_host(request.authority)) return broken;
  if (path == rest.size()) {  // RFC 9112 3.2.4: OPTIONS of a whole server, seen by its last proxy
    request.target = request.method == Method::options ? "*" : "/";
  } else if (rest[path] == '/') {
    request.target = rest.substr(path);
  } else {  // "?query" straight after the authority: the path is "/"
    const std::string_view query = rest.substr(path);
    Arena& arena = request.headers.arena();
    auto* with_path = static_cast<char*>(arena.allocate(query.size() + 1, 1));
    with_path[0] = '/';
    std::memcpy(with_path + 1, query.data(), query.size());
    request.target = {with_path, query.size() + 1};
  }
  return nullptr;
}

const Rule* parse_target(std::string_view target, const HttpLimits& limits, RequestHead& request) {
  if (target.size() > limits.target_bytes) return &rules::kTargetTooLong;
  if (request.method == Method::connect) {
    request.authority = target;
    request.target = {};
    return check_connect_authority(target);
  }
  request.target = target;
  if (target[0] == '/') return nullptr;
  if (target == "*") return request.method == Method::options ? nullptr : &rules::kAsteriskForm;
  return parse_absolute_form(target, request);
}

// A byte that ends a part of the request line too early: the reason is told as exactly as the part allows.
const Rule* bad_line_byte(char byte, char next, const Rule& otherwise) {
  if (byte == '\r') return next == '\n' ? &rules::kRequestLine : &rules::kBareCr;
  if (byte == ' ' || byte == '\t') return &rules::kRequestLine;
  return &otherwise;
}

// Leaves `at` behind the line.
const Rule* parse_request_line(char*& at, const char* readable, const HttpLimits& limits, RequestHead& request) {
  const char* const method = at;
  while (is_token_byte(*at)) ++at;
  if (*at != ' ' || at == method) return bad_line_byte(*at, at[1], rules::kMethod);
  request.method_text = {method, static_cast<std::size_t>(at - method)};
  request.method = method_of(request.method_text);
  char* const target = ++at;
  at = target + (end_of_target(target, readable) - target);
  if (*at != ' ' || at == target) return bad_line_byte(*at, at[1], rules::kTargetCharacters);
  const std::string_view target_text(target, static_cast<std::size_t>(at - target));
  const char* const version = ++at;
  while (*at > 0x20 && *at < 0x7f) ++at;
  if (*at != '\r') return bad_line_byte(*at, '\n', rules::kVersionSyntax);
  if (at[1] != '\n') return &rules::kBareCr;
  const std::string_view version_text(version, static_cast<std::size_t>(at - version));
  at += 2;
  if (request.method_text == "PRI") return &rules::kHttp2Preface;  // reserved, whatever follows
  if (const Rule* broken = check_request_version(version_text, request.version)) return broken;
  return parse_target(target_text, limits, request);
}

const Rule* take_host(std::string_view host, std::size_t count, RequestHead& request) {
  if (count > 1) return &rules::kHostRepeated;
  if (count == 0) return request.version == HttpVersion::http11 ? &rules::kHostMissing : nullptr;
  if (const Rule* broken = check_host(host)) return broken;
  if (request.authority.empty()) request.authority = host;  // else RFC 9112 3.2.2: the target's wins
  return nullptr;
}

// RFC 9110 10.1.1: ignored from HTTP/1.0 clients and where no body follows.
const Rule* take_expectation(RequestHead& request) {
  const HeaderField* field = request.headers.find(HeaderId::expect);
  if (field == nullptr) return nullptr;
  if (request.version == HttpVersion::http11) {
    const bool known = equals_ignoring_case(field->value, "100-continue") && request.headers.count(HeaderId::expect) == 1;
    if (!known) return &rules::kExpectation;
    request.expects_continue = request.has_body;
  }
  request.headers.remove(HeaderId::expect);
  return nullptr;
}

}  // namespace

const Rule* parse_request_head(char* head, std::size_t size, const HttpLimits& limits, RequestHead& request, RequestFacts& facts,
                               std::size_t readable_after) {
  DCHECK(size >= 4 && std::string_view(head, size).substr(size - 4) == "\r\n\r\n");
  char* at = head;
  const char* const readable = head + size + readable_after;
  if (const Rule* broken = parse_request_line(at, readable, limits, request)) return broken;
  FramingFields framing;
  std::string_view host;
  std::size_t hosts = 0;
  FieldParser fields(at, readable, limits, request.headers);
  const Rule* broken = fields.parse([&](const HeaderField& field) {
    switch (field.id) {
      case HeaderId::host:
        host = field.value;
        ++hosts;
        return false;
      case HeaderId::content_length:
      case HeaderId::transfer_encoding: note_framing(field, framing); return false;
      default: return true;
    }
  });
  if (broken != nullptr) return broken;
  if ((broken = take_host(host, hosts, request)) != nullptr) return broken;
  if ((broken = frame_request(framing, request.version, request.method, facts.framing)) != nullptr) return broken;
  request.has_body = facts.framing.body != BodyFraming::none;
  request.content_length = facts.framing.length;
  if ((broken = take_expectation(request)) != nullptr) return broken;
  facts.keep_alive = take_connection_fields(request.headers, request.version);
  return nullptr;
}

// --- Responses -------------------------------------------------------------------------------------------------------

namespace {

// HTTP-version SP 3DIGIT [SP reason]. Many servers leave the second space out with the reason; it cannot be
// misread.
const Rule* parse_status_line(char*& at, const char* end, const char* readable, ResponseHead& response) {
  constexpr std::size_t kShortest = 12;  // "HTTP/1.1 200"
  if (static_cast<std::size_t>(end - at) < kShortest + 2) return &rules::kStatusLine;
  const std::string_view version(at, 8);
  if (version == "HTTP/1.1") {
    response.version = HttpVersion::http11;
  } else if (version == "HTTP/1.0") {
    response.version = HttpVersion::http10;
  } else {
    return version.substr(0, 5) == "HTTP/" ? &rules::kResponseVersion : &rules::kStatusLine;
  }
  if (at[8] != ' ') return &rules::kStatusLine;
  int status = 0;
  for (int i = 9; i < 12; ++i) {
    if (at[i] < '0' || at[i] > '9') return &rules::kStatusCode;
    status = status * 10 + (at[i] - '0');
  }
  if (status < 100) return &rules::kStatusCode;
  response.status = status;
  at += kShortest;
  if (*at == ' ') {
    char* const reason = ++at;
    at = end_of_value(at, readable);
    response.reason = {reason, static_cast<std::size_t>(at - reason)};
  }
  if (*at != '\r') return is_value_byte(*at) ? &rules::kStatusCode : &rules::kFieldValue;
  if (at[1] != '\n') return &rules::kBareCr;
  at += 2;
  return nullptr;
}

}  // namespace

const Rule* parse_response_head(char* head, std::size_t size, const HttpLimits& limits, Method request, ResponseHead& response,
                                ResponseFacts& facts, std::size_t readable_after) {
  char* at = head;
  const char* const readable = head + size + readable_after;
  if (const Rule* broken = parse_status_line(at, head + size, readable, response)) return broken;
  FramingFields framing;
  FieldParser fields(at, readable, limits, response.headers);
  const Rule* broken = fields.parse([&](const HeaderField& field) {
    if (field.id != HeaderId::content_length && field.id != HeaderId::transfer_encoding) return true;
    note_framing(field, framing);
    return false;
  });
  if (broken != nullptr) return broken;
  if (response.status == 101) return &rules::kUnaskedSwitch;
  if (request == Method::connect && response.status >= 200 && response.status < 300) return &rules::kUnaskedSwitch;
  broken = frame_response(framing, response.version, response.status, request, facts.framing);
  if (broken != nullptr) return broken;
  response.has_body = facts.framing.body != BodyFraming::none;
  response.content_length = facts.framing.length;
  facts.keep_alive = take_connection_fields(response.headers, response.version) && facts.framing.reusable;
  return nullptr;
}

const Rule* parse_trailers(char* section, std::size_t size, const HttpLimits& limits, Headers& trailers) {
  FieldParser fields(section, section + size, limits, trailers);
  const Rule* broken = fields.parse([](const HeaderField& field) { return may_be_trailer(field); });
  return broken == &rules::kTooManyFields ? &rules::kTrailersTooLarge : broken;
}

}  // namespace weir
