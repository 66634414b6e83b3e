// HTTP/2 heads: Http2RequestHead collects the fields of one request into its exchange's arena and judges them at the end; the functions
// make the field lists of answers. A stream owns the former; what it makes lives in the arena.
// nghttp2 has decoded and checked the syntax before (RFC 9113 8.2, 8.3); what it does not ask is asked here, by framing_rules.
// Nothing is repaired, and nothing over a limit is kept: it is counted and dropped, so that the client can be answered.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "proxy/http/codec.h"
#include "proxy/http/framing_rules.h"
#include "proxy/message/head.h"

namespace weir {

class Http2RequestHead {
 public:
  static constexpr std::size_t kFieldOverhead = 32;  // RFC 9113 6.5.2
  static constexpr std::size_t kBomb = 4;            // times the limit of bytes: nobody means it

  Http2RequestHead(Arena& arena, const HttpLimits& limits) : limits_(limits), head_(*arena.make<RequestHead>(arena)) {}

  void add(std::string_view name, std::string_view value);  // copied
  // All fields came. Null, or the rule that is broken; the head is then as complete as it got.
  const Rule* finish(bool end_of_stream);
  RequestHead& head() { return head_; }
  // More came than is worth an answer; what follows had better not be decoded.
  bool bomb() const { return bytes_ > kBomb * limits_.header_bytes; }
  std::size_t bytes() const { return bytes_; }  // of the present section, counted as above

  // The trailer section, by the same limits; fields that have no place in one are dropped (may_be_trailer).
  void begin_trailers();
  void add_trailer(std::string_view name, std::string_view value);
  const Headers* trailers() const { return trailers_; }  // null when there are none
  bool trailers_too_large() const { return broken_ != nullptr; }

 private:
  bool count(std::string_view name, std::string_view value, const Rule& too_large);
  void add_pseudo(std::string_view name, std::string_view value);
  void add_cookie(std::string_view crumb);
  void join_cookies();
  const Rule* take_target();
  const Rule* take_authority();
  const Rule* take_length(bool end_of_stream);
  const Rule* take_expectation();

  struct Crumb {
    Crumb* next;
    std::string_view text;
  };

  const HttpLimits& limits_;
  RequestHead& head_;
  Headers* trailers_ = nullptr;
  const Rule* broken_ = nullptr;
  Crumb* first_crumb_ = nullptr;
  Crumb* last_crumb_ = nullptr;
  std::string_view scheme_, host_, length_;
  std::size_t bytes_ = 0;
  std::size_t fields_ = 0;
  bool has_host_ = false;
  bool has_authority_ = false;
  bool has_length_ = false;
};

// Adds a copy to a trailer section, which is made when the first one comes; a field that has no place there is dropped.
void keep_trailer(Arena& arena, const HeaderField& field, Headers*& trailers);

struct Http2Field {
  std::string_view name;
  std::string_view value;
};

// How an answer goes out: its fields, ":status" first, copied into the arena, because the session makes their frame later.
struct Http2Answer {
  std::span<Http2Field> fields;
  bool has_body = false;
  std::int64_t length = -1;  // of the body, where it is known
};
Http2Answer frame_http2_answer(Arena& arena, const ResponseHead& head, Method request, bool has_pipe);
std::string_view decimal(Arena& arena, std::int64_t value);                   // its digits, for the fields that we write ourselves
std::span<Http2Field> http2_trailers(Arena& arena, const Headers& trailers);  // without what may not stand there

}  // namespace weir
