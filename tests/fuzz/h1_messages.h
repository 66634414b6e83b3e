// H1Message and H1Stream: what a stretch of bytes says, message by message, by our own parsers, as plain strings to compare.
// The fuzz target of the codecs reads with it what both sides sent and got.
// It keeps nothing of the bytes and judges nothing: where a rule is broken it stops and names the rule.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/message/head.h"

namespace weir {

struct H1Message {
  using Fields = std::vector<std::pair<std::string, std::string>>;
  Method method = Method::get;  // of a request
  std::string head;             // "GET /x", or "200"
  std::string authority;        // of a request; may be empty in HTTP/1.0
  Fields fields;                // end-to-end
  Fields trailers;
  std::string body;
  bool complete = false;

  // An answer that a codec or the relay of the tests gives by itself: an error without body and fields.
  bool is_local_answer() const { return complete && body.empty() && fields.empty() && (head[0] == '4' || head[0] == '5'); }
};

struct H1Stream {
  std::vector<H1Message> messages;  // the last one may be incomplete; answers without the 1xx
  std::string broken;               // the rule that ended the reading
};

H1Stream read_requests(std::string_view bytes);
// `asked`: the methods that are answered, in order; an answer beyond them is read as one to GET. `ended`: a FIN follows.
H1Stream read_answers(std::string_view bytes, const std::vector<Method>& asked, bool ended);

}  // namespace weir
