#include "proxy/http/h2_server_session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>

#include "proxy/base/check.h"
#include "proxy/http/h2_name_values.h"
#include "proxy/http/h2_server.h"

namespace weir {

namespace {

H2Server& server_of(void* user) { return *static_cast<H2Server*>(user); }

// Null where we do not keep the stream: it was refused at its first frame.
H2Stream* stream_of(nghttp2_session* session, std::int32_t id) {
  return static_cast<H2Stream*>(nghttp2_session_get_stream_user_data(session, id));
}

constexpr std::size_t kUnlimited = std::size_t{1} << 30;

bool is_request(const nghttp2_frame& frame) { return frame.hd.type == NGHTTP2_HEADERS && frame.headers.cat == NGHTTP2_HCAT_REQUEST; }

}  // namespace

// All of these run inside receive() or make_frame(). None may make or take frames; submitting is allowed.
struct H2ServerSession::Callbacks {
  // Of a stream that is not kept nothing is to be told: its block is decoded, because the fields of others depend on it, and that is all.
  static int refuse(nghttp2_session* session, std::int32_t id) {
    if (nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM) != 0) return NGHTTP2_ERR_CALLBACK_FAILURE;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  static int on_begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    H2Server& server = server_of(user);
    if (!is_request(*frame)) {
      H2Stream* stream = stream_of(session, frame->hd.stream_id);
      server.on_begin_head(stream);
      if (stream != nullptr) stream->on_begin_trailers();
      return 0;
    }
    H2Stream* stream = server.on_begin_request(frame->hd.stream_id);
    server.on_begin_head(stream);
    if (stream == nullptr) return refuse(session, frame->hd.stream_id);
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, stream);
  }

  static int on_header(nghttp2_session* /*session*/, const nghttp2_frame* /*frame*/, const std::uint8_t* name, std::size_t name_size,
                       const std::uint8_t* value, std::size_t value_size, std::uint8_t /*flags*/, void* user) {
    H2Stream* stream = server_of(user).head_stream();
    if (stream == nullptr) return 0;
    if (stream->on_field(text_of(name, name_size), text_of(value, value_size))) return 0;
    server_of(user).on_flood(Http2Flood::headers);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  // By default nghttp2 drops a field with characters that must not be; RFC 9113 8.2.1 calls the message malformed.
  static int on_invalid_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t*, std::size_t, const std::uint8_t*, std::size_t,
                               std::uint8_t, void*) {
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  }

  static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    const bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_PING) {
      if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) server_of(user).on_ping_answered();
      return 0;
    }
    if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_SETTINGS) server_of(user).on_head_complete();
    if (frame->hd.stream_id == 0) return 0;
    H2Stream* stream = stream_of(session, frame->hd.stream_id);
    if (stream == nullptr) return 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS:
        if (is_request(*frame)) {
          stream->on_head(end);
        } else {
          stream->on_trailers();
        }
        break;
      case NGHTTP2_DATA:
        if (end) stream->on_request_end();
        break;
      case NGHTTP2_RST_STREAM: stream->on_peer_reset(); break;
      default: break;
    }
    return 0;
  }

  static int on_data(nghttp2_session* session, std::uint8_t /*flags*/, std::int32_t id, const std::uint8_t* data, std::size_t size,
                     void* /*user*/) {
    H2Stream* stream = stream_of(session, id);
    if (stream == nullptr) return nghttp2_session_consume_connection(session, size);
    stream->on_data({data, size});
    return 0;
  }

  static int on_stream_close(nghttp2_session* session, std::int32_t id, std::uint32_t /*error*/, void* /*user*/) {
    if (H2Stream* stream = stream_of(session, id)) stream->on_closed();
    return 0;
  }

  static int on_frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
      server_of(user).on_goaway_sent(frame->goaway.error_code == NGHTTP2_ENHANCE_YOUR_CALM);
    }
    if (frame->hd.type == NGHTTP2_RST_STREAM) on_reset_sent(frame->rst_stream.error_code, server_of(user));
    const bool ends = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (!ends || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    if (H2Stream* stream = stream_of(session, frame->hd.stream_id)) stream->on_produced(frame->hd.type == NGHTTP2_HEADERS);
    return 0;
  }

  // What the client made us do.
  static void on_reset_sent(std::uint32_t error, H2Server& server) {
    if (error == NGHTTP2_REFUSED_STREAM) return server.on_costly(Http2Flood::resets);
    if (error == NGHTTP2_FLOW_CONTROL_ERROR) server.on_flow_control_reset();
    if (error == NGHTTP2_PROTOCOL_ERROR || error == NGHTTP2_FLOW_CONTROL_ERROR || error == NGHTTP2_STREAM_CLOSED) {
      server.on_costly(Http2Flood::malformed);
    }
  }

  static int on_frame_not_sent(nghttp2_session* session, const nghttp2_frame* frame, int /*error*/, void* /*user*/) {
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    if (H2Stream* stream = stream_of(session, frame->hd.stream_id)) stream->on_not_sent();
    return 0;
  }

  static int on_invalid_frame(nghttp2_session* /*session*/, const nghttp2_frame* /*frame*/, int error, void* user) {
    if (error == NGHTTP2_ERR_FLOW_CONTROL) server_of(user).on_window_overflow();
    if (error == NGHTTP2_ERR_REFUSED_STREAM) server_of(user).on_refused(rules::kHttp2Streams);
    server_of(user).on_invalid(error == NGHTTP2_ERR_HTTP_HEADER || error == NGHTTP2_ERR_HTTP_MESSAGING);
    return 0;
  }

  // The bytes go straight to where they leave from, behind room for the frame's head: send_data() follows at once.
  static ssize_t read_body(nghttp2_session* session, std::int32_t id, std::uint8_t* /*into*/, std::size_t room, std::uint32_t* flags,
                           nghttp2_data_source* /*source*/, void* user) {
    H2Stream* stream = stream_of(session, id);
    if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    bool ended = false;
    std::span<const Http2Field> trailers;
    const std::size_t taken = stream->pull(server_of(user).payload_room(std::min(room, stream->waiting())), ended, trailers);
    if (!ended && taken == 0) return NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (!ended) return static_cast<ssize_t>(taken);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (trailers.empty()) return static_cast<ssize_t>(taken);
    const NameValues list(trailers);
    if (nghttp2_submit_trailer(session, id, list.data(), list.size()) != 0) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return static_cast<ssize_t>(taken);
  }

  static int send_data(nghttp2_session* /*session*/, nghttp2_frame* /*frame*/, const std::uint8_t* head, std::size_t size,
                       nghttp2_data_source* /*source*/, void* user) {
    return server_of(user).on_payload(head, size) ? 0 : NGHTTP2_ERR_PAUSE;
  }

  static nghttp2_session_callbacks* make() {
    nghttp2_session_callbacks* all = nullptr;
    CHECK(nghttp2_session_callbacks_new(&all) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(all, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(all, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(all, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(all, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(all, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(all, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(all, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(all, on_frame_not_sent);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(all, on_invalid_frame);
    nghttp2_session_callbacks_set_send_data_callback(all, send_data);
    return all;
  }

  static nghttp2_option* make_options() {
    nghttp2_option* options = nullptr;
    CHECK(nghttp2_option_new(&options) == 0);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);
    nghttp2_option_set_max_outbound_ack(options, kMaxAcks);
    // Http2Floods counts both, by the loop's time.
    nghttp2_option_set_stream_reset_rate_limit(options, kUnlimited, kUnlimited);
    nghttp2_option_set_max_continuations(options, kUnlimited);
    nghttp2_option_set_max_send_header_block_length(options, kMaxAnswerHead);
    return options;
  }
};

H2ServerSession::H2ServerSession(H2Server& server, const HttpLimits& limits) {
  nghttp2_session_callbacks* const callbacks = Callbacks::make();
  nghttp2_option* const options = Callbacks::make_options();
  nghttp2_session* made = nullptr;
  nghttp2_mem memory = nghttp2_memory(server.worker().blocks);
  CHECK(nghttp2_session_server_new3(&made, callbacks, &server, options, &memory) == 0);
  adopt(made);
  nghttp2_option_del(options);
  nghttp2_session_callbacks_del(callbacks);
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(limits.header_bytes)},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},  // RFC 9218 in its place
  };
  CHECK(nghttp2_submit_settings(made, NGHTTP2_FLAG_NONE, settings, std::size(settings)) == 0);
  CHECK(nghttp2_session_set_local_window_size(made, NGHTTP2_FLAG_NONE, 0, kConnectionWindow) == 0);
}

bool H2ServerSession::submit_informational(std::int32_t id, std::span<const Http2Field> fields) {
  const NameValues list(fields);
  return nghttp2_submit_headers(&raw(), NGHTTP2_FLAG_NONE, id, nullptr, list.data(), list.size(), nullptr) == 0;
}

bool H2ServerSession::submit_answer(std::int32_t id, std::span<const Http2Field> fields, bool has_body) {
  const NameValues list(fields, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
  nghttp2_data_provider provider{};
  provider.read_callback = Callbacks::read_body;
  return nghttp2_submit_response(&raw(), id, list.data(), list.size(), has_body ? &provider : nullptr) == 0;
}

void H2ServerSession::consume_connection(std::size_t bytes) {
  static_cast<void>(nghttp2_session_consume_connection(&raw(), bytes));  // fails where the connection is over
}

bool H2ServerSession::knows(std::int32_t id) { return stream_of(&raw(), id) != nullptr; }

void H2ServerSession::shutdown_notice() {
  static_cast<void>(nghttp2_submit_shutdown_notice(&raw()));
  ping();
}

void H2ServerSession::go_away() {
  const std::int32_t last = nghttp2_session_get_last_proc_stream_id(&raw());
  static_cast<void>(nghttp2_submit_goaway(&raw(), NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, nullptr, 0));
}

}  // namespace weir
