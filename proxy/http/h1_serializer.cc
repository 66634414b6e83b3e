#include "proxy/http/h1_serializer.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>

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

namespace {

struct Reason {
  int status;
  std::string_view phrase;
};

constexpr Reason kReasons[] = {
    {100, "Continue"},
    {102, "Processing"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {511, "Network Authentication Required"},
};

}  // namespace

std::string_view reason_phrase(int status) {
  const Reason* const end = std::end(kReasons);
  const Reason* found = std::lower_bound(std::begin(kReasons), end, status,
                                         [](const Reason& one, int wanted) { return one.status < wanted; });
  return found != end && found->status == status ? found->phrase : std::string_view();
}

}  // namespace weir
