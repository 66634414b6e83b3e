// Serializes HTTP/1.1 heads and trailers into a chain of bytes.
// Free functions; the codecs own the bytes. Host, Connection, Content-Length and Transfer-Encoding are
// written here and nowhere else. Nothing is passed through as it was received, and nothing is checked again:
// what is in a head has passed the framing rules.
#pragma once

#include <span>
#include <string_view>

#include "proxy/http/framing_rules.h"
#include "proxy/message/head.h"
#include "proxy/runtime/bytes.h"

namespace weir {

enum class ConnectionField : std::uint8_t { none, close, keep_alive };

// `host` stands in for an authority that is missing (HTTP/1.0 requests may have none); an extra field of HeaderId::host for any.
void write_request_head(Bytes& out, const RequestHead& head, std::span<const HeaderField> extra, const Framing& framing,
                        std::string_view host);
void write_response_head(Bytes& out, const ResponseHead& head, const Framing& framing, ConnectionField connection);
void write_informational(Bytes& out, const ResponseHead& head);
void write_last_chunk(Bytes& out, const Headers* trailers);

std::string_view reason_phrase(int status);  // of RFC 9110 and its registry; empty when unknown

// Copies without taking the read buffer over: for what is kept small (partial heads, pipelined requests).
void append_copy(Bytes& out, ByteView bytes);

}  // namespace weir
