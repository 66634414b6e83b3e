// The HTTP/1.1 head parser: HeadFinder looks for the end of a head in bytes as they come, parse_* take a
// complete head apart in place. The codec that reads the connection owns both the finder and the memory of
// the head: names are put in lower case there and all views point into it. It never keeps bytes, never looks
// at one twice however they were cut, and never accepts what framing_rules.h refuses.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/http/codec.h"
#include "proxy/http/framing_rules.h"
#include "proxy/message/head.h"
#include "proxy/runtime/bytes.h"

namespace weir {

enum class SectionKind : std::uint8_t { request, response, trailers };

// Finds the empty line that ends a head or a trailer section. What it finds does not depend on how the bytes
// were cut.
class HeadFinder {
 public:
  enum class Found : std::uint8_t { more, end, bad };

  explicit HeadFinder(SectionKind kind) : kind_(kind) {}

  // Looks at `bytes`, which follow all that were shown before. With end, `used` of them belong to the head;
  // with more, all do.
  Found feed(ByteView bytes, const HttpLimits& limits, std::size_t& used);
  const Rule* rule() const { return rule_; }        // after bad
  std::size_t size() const { return size_; }        // bytes seen that belong to the head
  std::size_t skipped() const { return skipped_; }  // of these, at the front, an empty line that is ignored
  void reset() { *this = HeadFinder(kind_); }

 private:
  Found bad(const Rule& rule) {
    rule_ = &rule;
    return Found::bad;
  }
  bool line_too_long(const HttpLimits& limits) const;
  Found end_of_line(bool after_cr, const HttpLimits& limits);

  const Rule* rule_ = nullptr;
  std::uint32_t size_ = 0;
  std::uint32_t line_ = 0;  // bytes of the present line so far
  std::uint8_t skipped_ = 0;
  bool first_line_ = true;
  bool last_was_cr_ = false;
  SectionKind kind_;
};

struct RequestFacts {
  Framing framing;
  bool keep_alive = true;
};

struct ResponseFacts {
  Framing framing;
  bool keep_alive = true;
};

// `head` is complete (a HeadFinder said so), without what was skipped, in memory that lives as long as the
// message, and is changed in place. All return null, or the rule that is broken; the head is then in no
// particular state. Hop-by-hop fields are taken out here, while the Connection field is at hand
// (hop_headers.h). `readable_after`: so many bytes behind the head may be read (byte_scan.h); they are never judged.
const Rule* parse_request_head(char* head, std::size_t size, const HttpLimits& limits, RequestHead& request, RequestFacts& facts,
                               std::size_t readable_after = 0);
const Rule* parse_response_head(char* head, std::size_t size, const HttpLimits& limits, Method request, ResponseHead& response,
                                ResponseFacts& facts, std::size_t readable_after = 0);
// Fields that have no place in trailers are dropped.
const Rule* parse_trailers(char* section, std::size_t size, const HttpLimits& limits, Headers& trailers);

}  // namespace weir
