#include "proxy/http/h2_client_head.h"

#include "proxy/http/byte_scan.h"
#include "proxy/http/hop_headers.h"

namespace weir {

namespace {

bool is_space(char c) { return c == ' ' || c == '\t'; }

// RFC 9113 8.2.1, and of the characters what HTTP/1 allows: CR and LF are among those that are not.
bool is_clean_value(std::string_view value) {
  if (!holds_value_bytes(value)) return false;
  return value.empty() || (!is_space(value.front()) && !is_space(value.back()));
}

bool is_of_connection(HeaderId id) {
  switch (id) {
    case HeaderId::connection:
    case HeaderId::keep_alive:
    case HeaderId::proxy_connection:
    case HeaderId::transfer_encoding:
    case HeaderId::upgrade: return true;
    default: return false;
  }
}

// What of a request's fields goes on as it is. TE has been reduced to "trailers" (hop_headers.h), which gRPC demands.
bool goes_on(HeaderId id) {
  return !is_of_connection(id) && id != HeaderId::http2_settings && id != HeaderId::content_length && id != HeaderId::host &&
         id != HeaderId::removed;
}

}  // namespace

// --- Requests ---------------------------------------------------------------------------------------------------------

Http2Request frame_http2_request(Arena& arena, const RequestHead& head, std::span<const HeaderField> extra, std::string_view scheme,
                                 std::string_view host) {
  constexpr std::size_t kOwn = 5;  // four pseudo-header fields and the length
  Http2Request request;
  request.has_body = head.has_body && head.content_length != 0;
  if (request.has_body) request.length = head.content_length;
  std::string_view authority = head.authority.empty() ? host : head.authority;
  for (const HeaderField& field : extra) {
    if (field.id == HeaderId::host) authority = arena.copy(field.value);
  }
  auto* const fields =
      arena.make_array<Http2Field>(static_cast<std::size_t>(head.headers.end() - head.headers.begin()) + extra.size() + kOwn);
  Http2Field* at = fields;
  *at++ = {":method", head.method_text};
  *at++ = {":scheme", scheme};
  *at++ = {":authority", authority};
  *at++ = {":path", head.target};
  for (const HeaderField& field : head.headers) {
    if (goes_on(field.id)) *at++ = {field.name, field.value};
  }
  for (const HeaderField& field : extra) {
    if (goes_on(field.id)) *at++ = {field.name, arena.copy(field.value)};
  }
  if (head.content_length >= 0) *at++ = {"content-length", decimal(arena, head.content_length)};
  request.fields = {fields, static_cast<std::size_t>(at - fields)};
  return request;
}

// --- Answers ----------------------------------------------------------------------------------------------------------

void Http2ResponseHead::begin_head() {
  head_.headers.clear();
  head_.status = 0;
  framing_ = FramingFields();
  fields_ = 0;
  pseudo_over_ = false;
}

void Http2ResponseHead::begin_trailers() {
  bytes_ = 0;
  fields_ = 0;
  in_trailers_ = true;
}

bool Http2ResponseHead::count(std::string_view name, std::string_view value) {
  bytes_ += name.size() + value.size() + Http2RequestHead::kFieldOverhead;
  const bool too_many = ++fields_ > limits_.headers;
  if (bytes_ <= limits_.header_bytes && !too_many) return true;
  if (in_trailers_) {
    break_rule(rules::kTrailersTooLarge);
  } else {
    break_rule(too_many ? rules::kTooManyFields : rules::kHeadTooLarge);
  }
  return false;
}

void Http2ResponseHead::add(std::string_view name, std::string_view value) {
  if (broken_ != nullptr || !count(name, value)) return;
  if (!name.empty() && name[0] == ':') {
    broken_ = take_pseudo(name, value);
    return;
  }
  pseudo_over_ = true;
  HeaderField field{name, value, header_id(name)};
  if (field.id == HeaderId::other && !is_lower_case_name(name)) return break_rule(rules::kFieldName);  // those known are written so
  if (!is_clean_value(value)) return break_rule(rules::kFieldValue);
  if (is_of_connection(field.id)) return break_rule(rules::kConnectionField);
  Arena& arena = head_.headers.arena();
  if (in_trailers_) return keep_trailer(arena, field, trailers_);
  field.value = arena.copy(value);
  if (field.id == HeaderId::content_length) {
    framing_.length = field.value;
    ++framing_.lengths;
    return;
  }
  head_.headers.add_view(keep_name(arena, name, field.id), field.value, field.id);
}

const Rule* Http2ResponseHead::take_pseudo(std::string_view name, std::string_view value) {
  if (in_trailers_ || pseudo_over_ || name != ":status" || head_.status != 0) return &rules::kPseudoField;
  if (value.size() != 3) return &rules::kStatusCode;
  for (const char c : value) {
    if (c < '0' || c > '9') return &rules::kStatusCode;
    head_.status = head_.status * 10 + (c - '0');
  }
  return head_.status < 100 ? &rules::kStatusCode : nullptr;
}

const Rule* Http2ResponseHead::finish_head(Method request, bool end_of_stream) {
  if (broken_ != nullptr) return broken_;
  if (head_.status == 0) return &rules::kStatusMissing;
  if (head_.status == 101) return &rules::kUnaskedSwitch;  // RFC 9113 8.6: HTTP/2 has none
  if (head_.status < 200 && end_of_stream) return &rules::kInformationalEnd;
  Framing framing;
  if (const Rule* rule = frame_response(framing_, HttpVersion::http2, head_.status, request, framing)) return rule;
  has_content_ = framing.body != BodyFraming::none;
  if (end_of_stream) {
    if (framing.body == BodyFraming::length) return &rules::kLengthMismatch;
    if (has_content_) framing.length = 0;  // nothing was announced, and nothing came
  }
  head_.version = HttpVersion::http2;
  head_.has_body = has_content_ && !end_of_stream;
  head_.content_length = framing.length;
  strip_hop_by_hop(head_.headers);
  return nullptr;
}

const Rule* Http2ResponseHead::finish_trailers(bool end_of_stream) const {
  if (broken_ != nullptr) return broken_;
  return end_of_stream ? nullptr : &rules::kTrailersWithoutEnd;
}

}  // namespace weir
