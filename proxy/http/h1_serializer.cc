#include "proxy/http/h1_serializer.h"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace weir {

namespace {

struct Decimal {
  explicit Decimal(std::int64_t value) {
    size = static_cast<std::size_t>(std::to_chars(digits, digits + sizeof digits, value).ptr - digits);
  }
  operator std::string_view() const { return {digits, size}; }
  char digits[20];
  std::size_t size;
};

// Writes pieces to one contiguous place when all fit a chunk, which heads do but for the largest.
class Pieces {
 public:
  Pieces(Bytes& out, std::size_t most) : out_(out) {
    if (most > BufferPool::kChunkSize) return;
    begin_ = reinterpret_cast<char*>(out.reserve(most).data());
    at_ = begin_;
  }
  Pieces(const Pieces&) = delete;
  Pieces& operator=(const Pieces&) = delete;
  ~Pieces() {
    if (begin_ != nullptr) out_.commit(static_cast<std::size_t>(at_ - begin_));
  }
  void put(std::string_view text) {
    if (begin_ == nullptr) {
      append_copy(out_, as_bytes(text));
    } else if (!text.empty()) {
      std::memcpy(at_, text.data(), text.size());
      at_ += text.size();
    }
  }
  void field(std::string_view name, std::string_view value) {
    put(name);
    put(": ");
    put(value);
    put("\r\n");
  }
  void fields(const HeaderField* begin, const HeaderField* end) {
    for (const HeaderField* at = begin; at != end; ++at) {
      if (at->id != HeaderId::removed) field(at->name, at->value);
    }
  }

 private:
  Bytes& out_;
  char* begin_ = nullptr;
  char* at_ = nullptr;
};

constexpr std::size_t kFieldExtra = 4;  // ": " and CRLF
constexpr std::size_t kCodecFields =
    160;  // start line's fixed parts, Content-Length or Transfer-Encoding, Connection, CRLF

std::size_t size_of(const HeaderField* begin, const HeaderField* end) {
  std::size_t size = 0;
  for (const HeaderField* at = begin; at != end; ++at) {
    if (at->id != HeaderId::removed) size += at->name.size() + at->value.size() + kFieldExtra;
  }
  return size;
}

void put_framing(Pieces& out, const Framing& framing) {
  if (framing.body == BodyFraming::chunked) {
    out.field("transfer-encoding", "chunked");
  } else if (framing.length >= 0) {
    out.field("content-length", Decimal(framing.length));
  }
}

}  // namespace

void append_copy(Bytes& out, ByteView bytes) {
  while (!bytes.empty()) {
    const std::span<std::uint8_t> room = out.reserve(1);
    const std::size_t n = std::min(room.size(), bytes.size());
    std::memcpy(room.data(), bytes.data(), n);
    out.commit(n);
    bytes = bytes.subspan(n);
  }
}

void write_request_head(Bytes& out, const RequestHead& head, std::span<const HeaderField> extra,
                        const Framing& framing, std::string_view host) {
  const std::string_view target = head.method == Method::connect ? head.authority : head.target;
  const std::string_view authority = head.authority.empty() ? host : head.authority;
  const HeaderField* const more = extra.data();
  Pieces pieces(out, kCodecFields + head.method_text.size() + target.size() + authority.size() +
                         size_of(head.headers.begin(), head.headers.end()) +
                         size_of(more, more + extra.size()));
  pieces.put(head.method_text);
  pieces.put(" ");
  pieces.put(target);
  pieces.put(" HTTP/1.1\r\n");
  pieces.field("host", authority);
  pieces.fields(head.headers.begin(), head.headers.end());
  pieces.fields(more, more + extra.size());
  put_framing(pieces, framing);
  if (head.headers.has(HeaderId::te)) pieces.field("connection", "te");  // RFC 9110 10.1.4
  pieces.put("\r\n");
}

void write_response_head(Bytes& out, const ResponseHead& head, const Framing& framing,
                         ConnectionField connection) {
  const std::string_view reason = head.reason.empty() ? reason_phrase(head.status) : head.reason;
  Pieces pieces(out, kCodecFields + reason.size() + size_of(head.headers.begin(), head.headers.end()));
  pieces.put("HTTP/1.1 ");
  pieces.put(Decimal(head.status));
  pieces.put(" ");
  pieces.put(reason);
  pieces.put("\r\n");
  pieces.fields(head.headers.begin(), head.headers.end());
  put_framing(pieces, framing);
  if (connection != ConnectionField::none) {
    pieces.field("connection", connection == ConnectionField::close ? "close" : "keep-alive");
  }
  pieces.put("\r\n");
}

void write_informational(Bytes& out, const ResponseHead& head) {
  write_response_head(out, head, Framing{}, ConnectionField::none);
}

void write_last_chunk(Bytes& out, const Headers* trailers) {
  const std::size_t size = trailers == nullptr ? 0 : size_of(trailers->begin(), trailers->end());
  Pieces pieces(out, size + 5);
  pieces.put("0\r\n");
  if (trailers != nullptr) pieces.fields(trailers->begin(), trailers->end());
  pieces.put("\r\n");
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 102:
      return "Processing";
    case 103:
      return "Early Hints";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 203:
      return "Non-Authoritative Information";
    case 204:
      return "No Content";
    case 205:
      return "Reset Content";
    case 206:
      return "Partial Content";
    case 207:
      return "Multi-Status";
    case 300:
      return "Multiple Choices";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 406:
      return "Not Acceptable";
    case 407:
      return "Proxy Authentication Required";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 422:
      return "Unprocessable Content";
    case 425:
      return "Too Early";
    case 426:
      return "Upgrade Required";
    case 428:
      return "Precondition Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 451:
      return "Unavailable For Legal Reasons";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    case 508:
      return "Loop Detected";
    case 511:
      return "Network Authentication Required";
    default:
      return {};
  }
}

}  // namespace weir
