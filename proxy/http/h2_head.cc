#include "proxy/http/h2_head.h"

#include <charconv>
#include <cstring>

#include "proxy/base/check.h"
#include "proxy/base/text.h"
#include "proxy/http/hop_headers.h"

namespace weir {

namespace {

template <class Test>
bool all(std::string_view text, Test test) {
  for (const char c : text) {
    if (!test(c)) return false;
  }
  return !text.empty();
}

// Fields of one connection (RFC 9113 8.2.2), and those that the codec writes itself.
bool stays_here(HeaderId id) {
  switch (id) {
    case HeaderId::connection:
    case HeaderId::keep_alive:
    case HeaderId::proxy_connection:
    case HeaderId::transfer_encoding:
    case HeaderId::upgrade:
    case HeaderId::http2_settings:
    case HeaderId::content_length:
    case HeaderId::te:
    case HeaderId::removed: return true;
    default: return false;
  }
}

bool announces_body(Method method) { return method == Method::post || method == Method::put || method == Method::patch; }

}  // namespace

// --- Requests ---------------------------------------------------------------------------------------------------------

bool Http2RequestHead::count(std::string_view name, std::string_view value, const Rule& too_large) {
  bytes_ += name.size() + value.size() + kFieldOverhead;
  if (bytes_ > limits_.header_bytes && broken_ == nullptr) broken_ = &too_large;
  return broken_ == nullptr;
}

void Http2RequestHead::add(std::string_view name, std::string_view value) {
  if (name == ":path" && value.size() > limits_.target_bytes && broken_ == nullptr) broken_ = &rules::kTargetTooLong;
  if (!count(name, value, rules::kHeadTooLarge)) return;
  if (name[0] == ':') return add_pseudo(name, value);
  const HeaderId id = header_id(name);
  // Crumbs are one field in the end (RFC 9113 8.2.3); their bytes were counted.
  const bool crumb_more = id == HeaderId::cookie && first_crumb_ != nullptr;
  if (!crumb_more && ++fields_ > limits_.headers) {
    broken_ = &rules::kTooManyFields;
    return;
  }
  Arena& arena = head_.headers.arena();
  const std::string_view text = arena.copy(value);
  switch (id) {
    case HeaderId::host:
      if (has_host_) broken_ = &rules::kHostRepeated;
      has_host_ = true;
      host_ = text;
      return;
    case HeaderId::content_length:
      if (has_length_) broken_ = &rules::kLengthRepeated;
      has_length_ = true;
      length_ = text;
      return;
    case HeaderId::cookie: return add_cookie(text);
    default: head_.headers.add_view(keep_name(arena, name, id), text, id);
  }
}

void Http2RequestHead::add_pseudo(std::string_view name, std::string_view value) {
  const std::string_view text = head_.headers.arena().copy(value);
  if (name == ":method") {
    head_.method_text = text;
  } else if (name == ":path") {
    head_.target = text;
  } else if (name == ":authority") {
    head_.authority = text;
    has_authority_ = true;
  } else if (name == ":scheme") {
    scheme_ = text;
  }  // nghttp2 lets no others pass
}

void Http2RequestHead::add_cookie(std::string_view crumb) {
  auto* one = head_.headers.arena().make<Crumb>(Crumb{nullptr, crumb});
  (first_crumb_ == nullptr ? first_crumb_ : last_crumb_->next) = one;
  last_crumb_ = one;
}

// RFC 9113 8.2.3: one field again, for whoever knows no crumbs.
void Http2RequestHead::join_cookies() {
  if (first_crumb_ == nullptr) return;
  std::string_view joined = first_crumb_->text;
  if (first_crumb_->next != nullptr) {
    std::size_t size = 0;
    for (const Crumb* one = first_crumb_; one != nullptr; one = one->next) size += one->text.size() + 2;
    auto* text = static_cast<char*>(head_.headers.arena().allocate(size, 1));
    char* at = text;
    for (const Crumb* one = first_crumb_; one != nullptr; one = one->next) {
      if (!one->text.empty()) std::memcpy(at, one->text.data(), one->text.size());
      at += one->text.size();
      std::memcpy(at, "; ", 2);
      at += 2;
    }
    joined = {text, size - 2};
  }
  head_.headers.add_view("cookie", joined, HeaderId::cookie);
}

const Rule* Http2RequestHead::finish(bool end_of_stream) {
  head_.version = HttpVersion::http2;
  head_.method = method_of(head_.method_text);
  join_cookies();
  if (broken_ != nullptr) return broken_;
  if (!all(head_.method_text, is_token_byte)) return &rules::kMethod;
  if (const Rule* broken = take_target()) return broken;
  if (const Rule* broken = take_authority()) return broken;
  if (const Rule* broken = take_length(end_of_stream)) return broken;
  if (const Rule* broken = take_expectation()) return broken;
  strip_hop_by_hop(head_.headers);
  return nullptr;
}

const Rule* Http2RequestHead::take_target() {
  if (head_.method == Method::connect) {
    head_.target = {};
    return nullptr;
  }
  if (equals_ignoring_case(scheme_, "http")) {
    head_.scheme = "http";
  } else if (equals_ignoring_case(scheme_, "https")) {
    head_.scheme = "https";
  } else {
    return &rules::kScheme;
  }
  if (!all(head_.target, is_target_byte)) return &rules::kTargetCharacters;
  if (head_.target == "*") return head_.method == Method::options ? nullptr : &rules::kAsteriskForm;
  return head_.target[0] == '/' ? nullptr : &rules::kTargetForm;
}

const Rule* Http2RequestHead::take_authority() {
  if (has_host_) {
    if (const Rule* broken = check_host(host_)) return broken;
    if (has_authority_ && !equal_ignoring_case(head_.authority, host_)) return &rules::kAuthorityConflict;
    head_.authority = host_;
  } else if (!has_authority_) {
    return &rules::kHostMissing;
  }
  return head_.method == Method::connect ? check_connect_authority(head_.authority) : check_host(head_.authority);
}

const Rule* Http2RequestHead::take_length(bool end_of_stream) {
  if (has_length_) {
    if (const Rule* broken = check_content_length(length_, head_.content_length)) return broken;
  }
  if (head_.method == Method::connect) {  // what would follow is a tunnel; there is none yet, and DATA is thrown away
    return head_.content_length > 0 ? &rules::kConnectBody : nullptr;
  }
  head_.has_body = !end_of_stream && head_.content_length != 0;
  // RFC 9110 8.6: without this an HTTP/1.1 server may ask for a length.
  if (end_of_stream && head_.content_length < 0 && announces_body(head_.method)) head_.content_length = 0;
  return nullptr;
}

// RFC 9110 10.1.1, as for HTTP/1.1.
const Rule* Http2RequestHead::take_expectation() {
  const HeaderField* field = head_.headers.find(HeaderId::expect);
  if (field == nullptr) return nullptr;
  if (!equals_ignoring_case(field->value, "100-continue") || head_.headers.count(HeaderId::expect) != 1) return &rules::kExpectation;
  head_.expects_continue = head_.has_body;
  head_.headers.remove(HeaderId::expect);
  return nullptr;
}

void Http2RequestHead::begin_trailers() {
  bytes_ = 0;
  fields_ = 0;
  broken_ = nullptr;
}

void Http2RequestHead::add_trailer(std::string_view name, std::string_view value) {
  if (!count(name, value, rules::kTrailersTooLarge)) return;
  if (++fields_ > limits_.headers) {
    broken_ = &rules::kTrailersTooLarge;
    return;
  }
  keep_trailer(head_.headers.arena(), {name, value, header_id(name)}, trailers_);
}

void keep_trailer(Arena& arena, const HeaderField& field, Headers*& trailers) {
  constexpr std::size_t kFew = 4;  // gRPC's status and message, and a little
  if (!may_be_trailer(field)) return;
  if (trailers == nullptr) {
    trailers = arena.make<Headers>(arena);
    trailers->reserve(kFew);
  }
  trailers->add_view(keep_name(arena, field.name, field.id), arena.copy(field.value), field.id);
}

// --- Answers ----------------------------------------------------------------------------------------------------------

std::string_view decimal(Arena& arena, std::int64_t value) {
  constexpr std::size_t kDigits = 20;
  auto* digits = static_cast<char*>(arena.allocate(kDigits, 1));
  return {digits, static_cast<std::size_t>(std::to_chars(digits, digits + kDigits, value).ptr - digits)};
}

namespace {

// RFC 9110 8.6: what the head announces may belong to a body that is not sent (HEAD, 304).
std::int64_t announced_length(const ResponseHead& head, Method request, bool has_body) {
  if (head.status < 200 || head.status == 204) return -1;
  if (head.status == 304 || request == Method::head) return head.content_length;
  return has_body ? head.content_length : 0;
}

// Fields that stand in memory as lines, one behind the other, are copied in one piece.
Http2Field* copy_fields(Arena& arena, const Headers& headers, Http2Field* out) {
  const HeaderField* at = headers.begin();
  while (at != headers.end()) {
    const HeaderField* const first = at++;
    if (stays_here(first->id)) continue;
    if (!first->is_line) {
      *out++ = {keep_name(arena, first->name, first->id), arena.copy(first->value)};
      continue;
    }
    const char* end = first->name.data() + first->line_size();
    for (; at != headers.end() && at->is_line && !stays_here(at->id) && at->name.data() == end; ++at) end += at->line_size();
    const char* const from = first->name.data();
    const char* const to = arena.copy({from, static_cast<std::size_t>(end - from)}).data();
    for (const HeaderField* one = first; one != at; ++one) {
      *out++ = {{to + (one->name.data() - from), one->name.size()}, {to + (one->value.data() - from), one->value.size()}};
    }
  }
  return out;
}

}  // namespace

Http2Answer frame_http2_answer(Arena& arena, const ResponseHead& head, Method request, bool has_pipe) {
  Http2Answer answer;
  const bool never = head.status < 200 || head.status == 204 || head.status == 304 || request == Method::head;
  answer.has_body = has_pipe && head.has_body && !never && head.content_length != 0;
  CHECK(never || has_pipe || !head.has_body || head.content_length <= 0);
  const std::int64_t length = announced_length(head, request, answer.has_body);
  if (answer.has_body) answer.length = head.content_length;
  const auto most = static_cast<std::size_t>(head.headers.end() - head.headers.begin()) + 2;
  auto* const fields = arena.make_array<Http2Field>(most);
  Http2Field* at = fields;
  *at++ = {":status", decimal(arena, head.status)};
  at = copy_fields(arena, head.headers, at);
  if (length >= 0) *at++ = {"content-length", decimal(arena, length)};
  answer.fields = {fields, static_cast<std::size_t>(at - fields)};
  return answer;
}

std::span<Http2Field> http2_trailers(Arena& arena, const Headers& trailers) {
  auto* const fields = arena.make_array<Http2Field>(static_cast<std::size_t>(trailers.end() - trailers.begin()) + 1);
  Http2Field* at = fields;
  for (const HeaderField& field : trailers) {
    if (!stays_here(field.id) && may_be_trailer(field)) *at++ = {field.name, field.value};
  }
  return {fields, static_cast<std::size_t>(at - fields)};
}

}  // namespace weir
