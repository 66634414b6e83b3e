// The framing rules: everything that this proxy refuses in HTTP/1.1 messages, each with its name and its
// source, and how a body is framed. Pure functions and constants; the parser (h1_parser, h1_body) asks them.
// Nothing here reads or writes a connection. They never repair: what two readers could take differently is
// refused, so that nobody can smuggle a message past us (RFC 9112 11.2).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "proxy/message/head.h"

namespace weir {

struct Rule {
  std::string_view name;    // BadMessage::rule, metrics and logs
  std::string_view source;  // where it is written
  int status;               // what a client is told; answers of upstreams that break a rule are 502 whatever it says
};

namespace rules {

// --- Lines (RFC 9112 2.2: a recipient may take a bare LF for a line end. We do not: that leniency is what
// smuggling lives on) ---
inline constexpr Rule kBareLf{"bare-lf", "RFC 9112 2.2", 400};
inline constexpr Rule kBareCr{"bare-cr", "RFC 9112 2.2", 400};
inline constexpr Rule kEmptyLines{"empty-lines", "RFC 9112 2.2: one empty line before a request is ignored, not more", 400};
inline constexpr Rule kNotHttp{"not-http", "RFC 9112 3: the first byte cannot begin a method (TLS, perhaps)", 400};

// --- Request line ---
inline constexpr Rule kRequestLine{"request-line", "RFC 9112 3: method SP target SP version, one space each", 400};
inline constexpr Rule kMethod{"method", "RFC 9110 9.1: a token, any token", 400};
inline constexpr Rule kVersionSyntax{"version-syntax", "RFC 9112 2.3", 400};
inline constexpr Rule kVersion{"version-unknown", "RFC 9110 15.6.6", 505};
inline constexpr Rule kHttp2Preface{"http2-preface", "RFC 9113 3.4: HTTP/2 on a listener of HTTP/1", 505};
inline constexpr Rule kTargetTooLong{"target-too-long", "RFC 9112 3, RFC 9110 15.5.15", 414};
inline constexpr Rule kTargetCharacters{"target-characters", "RFC 9112 3.2, RFC 3986 2: visible ASCII but '#'", 400};
inline constexpr Rule kTargetForm{"target-form", "RFC 9112 3.2: origin-form, absolute-form of http or https, or below", 400};
inline constexpr Rule kAsteriskForm{"asterisk-form", "RFC 9112 3.2.4: OPTIONS only", 400};
inline constexpr Rule kAuthorityForm{"authority-form", "RFC 9112 3.2.3: CONNECT, and host:port only", 400};
inline constexpr Rule kUserinfo{"userinfo", "RFC 9110 4.2.4", 400};

// --- Fields ---
inline constexpr Rule kFieldName{"field-name", "RFC 9112 5.1: a token, not empty", 400};
inline constexpr Rule kSpaceAroundName{"space-around-name", "RFC 9112 5.1", 400};
inline constexpr Rule kObsFold{"obs-fold", "RFC 9112 5.2", 400};
inline constexpr Rule kFieldValue{"field-value", "RFC 9110 5.5: no NUL, no control but HTAB", 400};
inline constexpr Rule kHeadTooLarge{"head-too-large", "RFC 6585 5", 431};
inline constexpr Rule kTooManyFields{"too-many-fields", "RFC 6585 5", 431};
inline constexpr Rule kExpectation{"expectation-unknown", "RFC 9110 10.1.1", 417};
inline constexpr Rule kHeadersTimeout{"request-headers-timeout", "RFC 9110 15.5.9", 408};

// --- Host ---
inline constexpr Rule kHostMissing{"host-missing", "RFC 9112 3.2", 400};
inline constexpr Rule kHostRepeated{"host-repeated", "RFC 9112 3.2", 400};
inline constexpr Rule kHostCharacters{"host-characters", "RFC 9112 3.2, RFC 3986 3.2", 400};

// --- Where a body ends ---
inline constexpr Rule kLengthWithEncoding{"length-with-encoding", "RFC 9112 6.1, 6.3", 400};
inline constexpr Rule kLengthRepeated{"length-repeated", "RFC 9110 8.6: even when all are equal", 400};
inline constexpr Rule kLengthValue{"length-value", "RFC 9110 8.6: digits only", 400};
inline constexpr Rule kLengthOverflow{"length-overflow", "RFC 9110 8.6", 400};
inline constexpr Rule kEncodingUnknown{"encoding-unknown", "RFC 9112 6.1: codings other than chunked", 501};
inline constexpr Rule kEncodingValue{"encoding-value", "RFC 9112 6.1: chunked once, alone", 400};
inline constexpr Rule kEncodingOnHttp10{"encoding-on-http10", "RFC 9112 6.1", 400};
inline constexpr Rule kConnectBody{"connect-body", "RFC 9110 9.3.6", 400};

// --- Chunks and trailers ---
inline constexpr Rule kChunkSize{"chunk-size", "RFC 9112 7.1: hexadecimal digits, then ';' or CRLF", 400};
inline constexpr Rule kChunkOverflow{"chunk-overflow", "RFC 9112 7.1", 400};
inline constexpr Rule kChunkExtension{"chunk-extension", "RFC 9112 7.1.1: no controls", 400};
inline constexpr Rule kChunkExtensionTooLong{"chunk-extension-too-long", "RFC 9112 7.1.1", 413};
inline constexpr Rule kChunkEnd{"chunk-end", "RFC 9112 7.1: CRLF after the data", 400};
inline constexpr Rule kTrailersTooLarge{"trailers-too-large", "RFC 9112 7.1.2, RFC 6585 5", 431};

// --- HTTP/2 (nghttp2 judges the frames and most of the messages: those end in RST_STREAM or GOAWAY, without an answer) ---
inline constexpr Rule kAuthorityConflict{"authority-conflict", "RFC 9113 8.3.1: Host differs from :authority", 400};
inline constexpr Rule kScheme{"scheme-unknown", "RFC 9113 8.3.1: http or https", 400};
inline constexpr Rule kMalformed{"http2-malformed", "RFC 9113 8.1.1: a stream error", 400};
inline constexpr Rule kHttp2Frame{"http2-frame", "RFC 9113 5.4: a stream or connection error", 400};
inline constexpr Rule kHttp2Streams{"http2-streams", "RFC 9113 5.1.2: more requests at once than allowed: REFUSED_STREAM", 400};
inline constexpr Rule kHttp2Heads{"http2-heads", "a bound of ours on the heads of a connection's requests: REFUSED_STREAM", 431};
inline constexpr Rule kHttp2Flood{"http2-flood", "RFC 9113 10.5: ENHANCE_YOUR_CALM; kinds of it are in h2_flood.cc", 400};

// --- Responses ---
inline constexpr Rule kStatusLine{"status-line", "RFC 9112 4", 502};
inline constexpr Rule kStatusCode{"status-code", "RFC 9110 15", 502};
inline constexpr Rule kResponseVersion{"response-version", "RFC 9112 2.3", 502};
inline constexpr Rule kUnaskedSwitch{"unasked-switch", "RFC 9110 15.2.2: 101 without Upgrade, or a tunnel", 502};
inline constexpr Rule kTooManyInformational{"too-many-informational", "RFC 9110 15.2: a bound of ours", 502};

// --- Responses of HTTP/2 ---
inline constexpr Rule kPseudoField{"pseudo-field", "RFC 9113 8.3: unknown, repeated, behind another field, or in a trailer section", 502};
inline constexpr Rule kStatusMissing{"status-missing", "RFC 9113 8.3.2", 502};
inline constexpr Rule kConnectionField{"connection-field", "RFC 9113 8.2.2", 502};
inline constexpr Rule kInformationalEnd{"informational-end", "RFC 9113 8.1: a 1xx that ends the stream", 502};
inline constexpr Rule kTrailersWithoutEnd{"trailers-without-end", "RFC 9113 8.1", 502};
inline constexpr Rule kBodyBeforeHead{"body-before-head", "RFC 9113 8.1", 502};
inline constexpr Rule kUnaskedBody{"unasked-body", "RFC 9110 6.4.1: behind a head that has none", 502};
inline constexpr Rule kLengthMismatch{"length-mismatch", "RFC 9113 8.1.1: DATA and Content-Length differ", 502};
inline constexpr Rule kPush{"push-promise", "RFC 9113 8.4: it was switched off", 502};
inline constexpr Rule kNotHttp2{"not-http2", "RFC 9113 3.4: an upstream that answers in HTTP/1", 502};
inline constexpr Rule kConnectUnsupported{"connect-unsupported", "RFC 9113 8.5: no tunnels through HTTP/2", 502};

}  // namespace rules

enum class BodyFraming : std::uint8_t { none, length, chunked, until_close };

struct Framing {
  BodyFraming body = BodyFraming::none;
  std::int64_t length = -1;  // Content-Length as sent; it may stand without a body (HEAD, 304, 0)
  bool reusable = true;      // false: the sender confuses ends, so that the connection is closed after this message
};

// What a message said about its own end; views into the head.
struct FramingFields {
  std::string_view length;
  std::string_view encoding;
  std::uint16_t lengths = 0;
  std::uint16_t encodings = 0;
};

// All return null when the rule holds, or the rule that is broken.
const Rule* frame_request(const FramingFields& fields, HttpVersion version, Method method, Framing& framing);
const Rule* frame_response(const FramingFields& fields, HttpVersion version, int status, Method request, Framing& framing);
const Rule* check_content_length(std::string_view value, std::int64_t& length);
const Rule* check_transfer_encoding(const FramingFields& fields, HttpVersion version);
const Rule* check_host(std::string_view authority);               // host[:port]; empty is bad
const Rule* check_connect_authority(std::string_view authority);  // host:port
const Rule* check_request_version(std::string_view text, HttpVersion& version);

// RFC 9110 6.5.1: fields that a trailer section must not bring, because heads were judged without them. They
// are dropped.
bool may_be_trailer(const HeaderField& field);

inline constexpr int kMaxInformational = 32;           // before one answer
inline constexpr int kMaxChunkDigits = 16;             // leading zeros count
inline constexpr std::size_t kRequestLineSlack = 256;  // for method and version, over HttpLimits::target_bytes

// Characters. kNameByte gives the lower-case byte of a token character, 0 for every other byte (RFC
// 9110 5.6.2).
extern const std::array<std::uint8_t, 256> kNameByte;
inline bool is_token_byte(char c) { return kNameByte[static_cast<std::uint8_t>(c)] != 0; }
inline bool is_target_byte(char c) { return c > 0x20 && c < 0x7f && c != '#'; }
// field-vchar, SP, HTAB and obs-text (RFC 9110 5.5)
inline bool is_value_byte(char c) {
  const auto byte = static_cast<std::uint8_t>(c);
  return (byte >= 0x20 && byte != 0x7f) || byte == '\t';
}

bool equals_ignoring_case(std::string_view text, std::string_view lower);

}  // namespace weir
