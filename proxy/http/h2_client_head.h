// HTTP/2 heads as a client has them: frame_http2_request makes the field list of a request; Http2ResponseHead collects the fields of its
// answer, section by section, and judges them. A stream owns the latter; what both make lives in the exchange's arena.
// nghttp2 has decoded the fields and judged nothing (h2_client_session.cc): every rule of RFC 9113 about them is asked here. Nothing is
// repaired, and nothing is kept of an answer that broke a rule.
#pragma once

#include <span>
#include <string_view>

#include "proxy/http/codec.h"
#include "proxy/http/framing_rules.h"
#include "proxy/http/h2_head.h"
#include "proxy/message/head.h"

namespace weir {

struct Http2Request {
  std::span<Http2Field> fields;  // views of the head, and of the arena
  bool has_body = false;
  std::int64_t length = -1;  // of the body, where it is known
};
// `host` stands in for an authority that is missing.
Http2Request frame_http2_request(Arena& arena, const RequestHead& head, std::span<const HeaderField> extra, std::string_view scheme,
                                 std::string_view host);

class Http2ResponseHead {
 public:
  Http2ResponseHead(Arena& arena, const HttpLimits& limits) : limits_(limits), head_(*arena.make<ResponseHead>(arena)) {}

  void begin_head();  // of an informational answer, or of the final one: their sizes are added up
  void begin_trailers();
  void add(std::string_view name, std::string_view value);  // copied
  // All fields of the section came. Null, or the rule that is broken.
  const Rule* finish_head(Method request, bool end_of_stream);
  const Rule* finish_trailers(bool end_of_stream) const;
  const Rule* broken() const { return broken_; }  // before all came

  ResponseHead& head() { return head_; }
  bool has_content() const { return has_content_; }      // DATA may bring bytes
  const Headers* trailers() const { return trailers_; }  // null when there are none

 private:
  bool count(std::string_view name, std::string_view value);
  const Rule* take_pseudo(std::string_view name, std::string_view value);
  void break_rule(const Rule& rule) { broken_ = &rule; }

  const HttpLimits& limits_;
  ResponseHead& head_;
  Headers* trailers_ = nullptr;
  const Rule* broken_ = nullptr;
  FramingFields framing_;
  std::size_t bytes_ = 0;
  std::size_t fields_ = 0;
  bool in_trailers_ = false;
  bool pseudo_over_ = false;  // a field that is none has come
  bool has_content_ = false;
};

}  // namespace weir
