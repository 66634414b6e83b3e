// H1Harness: runs the head finder, the parsers and the body decoder over bytes that come in pieces, as the
// codecs do, without a connection. Tests and fuzzers make one for each input; it owns the arena that the
// message lies in. It never answers anything and knows no timeouts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proxy/http/h1_body.h"
#include "proxy/http/h1_parser.h"
#include "proxy/runtime/arena.h"

namespace weir {

class H1Harness {
 public:
  explicit H1Harness(SectionKind kind, HttpLimits limits = {}, Method request = Method::get)
      : kind_(kind), limits_(limits), request_method_(request), arena_(pool_.open()), finder_(kind) {}
  H1Harness(const H1Harness&) = delete;
  H1Harness& operator=(const H1Harness&) = delete;
  ~H1Harness() { arena_.release(); }

  void feed(std::string_view text) {
    // A copy of its own on the heap, so that a sanitizer sees a read past what came.
    const std::vector<std::uint8_t> bytes(text.begin(), text.end());
    ByteView in(bytes.data(), bytes.size());
    while (!in.empty() && broken_ == nullptr && !complete_) {
      if (in_head_) {
        take_head(in);
      } else {
        take_body(in);
      }
    }
    left_over_.append(as_text(in));
  }
  void finish() {  // FIN
    if (broken_ == nullptr && !complete_ && !in_head_ && decoder_.ends_at_close()) complete_ = true;
  }

  const Rule* broken() const { return broken_; }
  bool complete() const { return complete_; }
  bool head_complete() const { return !in_head_; }
  const std::string& body() const { return body_; }
  const std::string& left_over() const { return left_over_; }
  const Framing& framing() const { return framing_; }
  bool keep_alive() const { return keep_alive_; }
  const RequestHead& request() const { return request_; }
  const ResponseHead& response() const { return response_; }
  const Headers* trailers() const { return decoder_.trailers(); }

  // All that was understood, as text: "400 bare-lf", or the head, the framing, the body and the trailers.
  std::string verdict() const {
    if (broken_ != nullptr) return std::to_string(broken_->status) + " " + std::string(broken_->name);
    if (in_head_) return "incomplete head";
    std::string text = kind_ == SectionKind::request ? request_text() : response_text();
    const Headers& headers = kind_ == SectionKind::request ? request_.headers : response_.headers;
    text += fields_text(headers);
    text += keep_alive_ ? "" : " close";
    static constexpr const char* kFramings[] = {"none", "length", "chunked", "until-close"};
    text += " | " + std::string(kFramings[static_cast<int>(framing_.body)]) + " " + std::to_string(framing_.length);
    text += " | " + body_;
    if (decoder_.trailers() != nullptr) text += " |" + fields_text(*decoder_.trailers());
    if (!complete_) text += " | incomplete";
    if (!left_over_.empty()) text += " | left " + std::to_string(left_over_.size());
    return text;
  }

 private:
  void take_head(ByteView& in) {
    std::size_t used = 0;
    const auto found = finder_.feed(in, limits_, used);
    if (found == HeadFinder::Found::bad) {
      broken_ = finder_.rule();
      return;
    }
    head_.append(as_text(in.first(used)));
    in = in.subspan(used);
    if (found == HeadFinder::Found::more) return;
    head_.erase(0, finder_.skipped());
    auto* copy = static_cast<char*>(arena_.allocate(head_.size(), 1));
    head_.copy(copy, head_.size());
    if (kind_ == SectionKind::request) {
      RequestFacts facts;
      broken_ = parse_request_head(copy, head_.size(), limits_, request_, facts);
      framing_ = facts.framing;
      keep_alive_ = facts.keep_alive;
    } else {
      ResponseFacts facts;
      broken_ = parse_response_head(copy, head_.size(), limits_, request_method_, response_, facts);
      framing_ = facts.framing;
      keep_alive_ = facts.keep_alive;
    }
    if (broken_ != nullptr) return;
    in_head_ = false;
    decoder_.start(framing_, limits_, arena_);
    if (framing_.body == BodyFraming::none) complete_ = true;
  }

  void take_body(ByteView& in) {
    for (;;) {
      ByteView data;
      switch (decoder_.next(in, data)) {
        case H1BodyDecoder::Step::data: body_.append(as_text(data)); break;
        case H1BodyDecoder::Step::end: complete_ = true; return;
        case H1BodyDecoder::Step::bad: broken_ = decoder_.rule(); return;
        case H1BodyDecoder::Step::more: return;
      }
    }
  }

  std::string request_text() const {
    std::string text(request_.method_text);
    text += " " + std::string(request_.target) + " " + std::string(request_.authority);
    if (!request_.scheme.empty()) text += " " + std::string(request_.scheme);
    if (request_.version == HttpVersion::http10) text += " 1.0";
    if (request_.expects_continue) text += " expects";
    return text;
  }
  std::string response_text() const {
    std::string text = std::to_string(response_.status) + " " + std::string(response_.reason);
    if (response_.version == HttpVersion::http10) text += " 1.0";
    return text;
  }
  static std::string fields_text(const Headers& headers) {
    std::string text;
    for (const HeaderField& field : headers) {
      if (field.id == HeaderId::removed) continue;
      text += " " + std::string(field.name) + "=" + std::string(field.value);
    }
    return text;
  }

  SectionKind kind_;
  HttpLimits limits_;
  Method request_method_;
  ArenaPool pool_;
  Arena& arena_;
  HeadFinder finder_;
  H1BodyDecoder decoder_;
  RequestHead request_{arena_};
  ResponseHead response_{arena_};
  Framing framing_;
  std::string head_;
  std::string body_;
  std::string left_over_;
  const Rule* broken_ = nullptr;
  bool in_head_ = true;
  bool complete_ = false;
  bool keep_alive_ = true;
};

}  // namespace weir
