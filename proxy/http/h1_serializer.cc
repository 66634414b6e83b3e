#include "proxy/http/h1_serializer.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>

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

// Writes pieces to one contiguous place, of which `most` is known to be enough. Heads larger than a chunk are put together apart.
class Pieces {
 public:
  Pieces(Bytes& out, std::size_t most) : out_(out) {
    if (most <= BufferPool::kChunkSize) {
      begin_ = reinterpret_cast<char*>(out.reserve(most).data());
    } else {
      large_.resize(most);
      begin_ = large_.data();
    }
    at_ = begin_;
  }
  Pieces(const Pieces&) = delete;
  Pieces& operator=(const Pieces&) = delete;
  ~Pieces() {
    const auto size = static_cast<std::size_t>(at_ - begin_);
    if (large_.empty()) {
      out_.commit(size);
    } else {
      append_copy(out_, as_bytes({begin_, size}));
    }
  }
  void put(std::string_view text) {
    if (!text.empty()) std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }
  void digit(int value) { *at_++ = static_cast<char>('0' + value); }
  void field(std::string_view name, std::string_view value) {
    put(name);
    put(": ");
    put(value);
    put("\r\n");
  }
  // Fields that stand in memory as lines, one behind the other, are copied in one piece: the same bytes, only faster.
  void fields(const HeaderField* at, const HeaderField* end) {
    while (at != end) {
      if (at->id == HeaderId::removed) {
        ++at;
      } else if (!at->is_line) {
        field(at->name, at->value);
        ++at;
      } else {
        const char* const begin = at->name.data();
        const char* next = begin;
        do next += (at++)->line_size();
        while (at != end && at->is_line && at->id != HeaderId::removed && at->name.data() == next);
        put({begin, static_cast<std::size_t>(next - begin)});
      }
    }
  }

 private:
  Bytes& out_;
  std::string large_;
  char* begin_ = nullptr;
  char* at_ = nullptr;
};

constexpr std::size_t kCodecFields = 160;  // start line's fixed parts, Content-Length or Transfer-Encoding, Connection, CRLF

std::size_t size_of(std::span<const HeaderField> fields) {
  std::size_t size = 0;
  for (const HeaderField& field : fields) size += field.line_size();
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

void write_request_head(Bytes& out, const RequestHead& head, std::span<const HeaderField> extra, const Framing& framing,
                        std::string_view host) {
  const std::string_view target = head.method == Method::connect ? head.authority : head.target;
  std::string_view authority = head.authority.empty() ? host : head.authority;
  for (const HeaderField& field : extra) {
    if (field.id == HeaderId::host) authority = field.value;
  }
  Pieces pieces(out,
                kCodecFields + head.method_text.size() + target.size() + authority.size() + head.headers.line_bytes() + size_of(extra));
  pieces.put(head.method_text);
  pieces.put(" ");
  pieces.put(target);
  pieces.put(" HTTP/1.1\r\n");
  pieces.field("host", authority);
  pieces.fields(head.headers.begin(), head.headers.end());
  for (const HeaderField& field : extra) {
    if (field.id != HeaderId::host) pieces.field(field.name, field.value);
  }
  put_framing(pieces, framing);
  if (head.headers.has(HeaderId::te)) pieces.field("connection", "te");  // RFC 9110 10.1.4
  pieces.put("\r\n");
}

void write_response_head(Bytes& out, const ResponseHead& head, const Framing& framing, ConnectionField connection) {
  const std::string_view reason = head.reason.empty() ? reason_phrase(head.status) : head.reason;
  Pieces pieces(out, kCodecFields + reason.size() + head.headers.line_bytes());
  pieces.put("HTTP/1.1 ");
  pieces.digit(head.status / 100);
  pieces.digit(head.status / 10 % 10);
  pieces.digit(head.status % 10);
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

void write_informational(Bytes& out, const ResponseHead& head) { write_response_head(out, head, Framing{}, ConnectionField::none); }

void write_last_chunk(Bytes& out, const Headers* trailers) {
  Pieces pieces(out, (trailers == nullptr ? 0 : trailers->line_bytes()) + 5);
  pieces.put("0\r\n");
  if (trailers != nullptr) pieces.fields(trailers->begin(), trailers->end());
  pieces.put("\r\n");
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 100: return "Continue";
    case 102: return "Processing";
    case 103: return "Early Hints";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 203: return "Non-Authoritative Information";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 207: return "Multi-Status";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 407: return "Proxy Authentication Required";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    case 508: return "Loop Detected";
    case 511: return "Network Authentication Required";
    default: return {};
  }
}

}  // namespace weir
