#include "proxy/http/h2_client_session.h"

#include <nghttp2/nghttp2.h>

#include "proxy/base/check.h"
#include "proxy/http/h2_client.h"
#include "proxy/http/h2_name_values.h"

namespace weir {

namespace {

H2Client& client_of(void* user) { return *static_cast<H2Client*>(user); }

H2ClientStream* stream_of(nghttp2_session* session, std::int32_t id) {
  return static_cast<H2ClientStream*>(nghttp2_session_get_stream_user_data(session, id));
}

bool ends_stream(std::uint8_t flags) { return (flags & NGHTTP2_FLAG_END_STREAM) != 0; }

}  // namespace

// All of these run inside receive() or make_frame(). None may make or take frames; submitting is allowed.
struct H2ClientSession::Callbacks {
  static int on_begin_frame(nghttp2_session* /*session*/, const nghttp2_frame_hd* head, void* user) {
    H2Client& client = client_of(user);
    client.on_begin_frame(head->type == NGHTTP2_PING && (head->flags & NGHTTP2_FLAG_ACK) != 0);
    if (head->type == NGHTTP2_PUSH_PROMISE) client.on_push();
    if (head->type != NGHTTP2_DATA) return 0;
    // With padding it cannot be told which bytes are the last: the end of the frame tells.
    const bool last = ends_stream(head->flags) && (head->flags & NGHTTP2_FLAG_PADDED) == 0;
    client.begin_data(last ? head->length : H2Client::kNotTheLast);
    return 0;
  }

  static int on_begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    H2ClientStream* stream = frame->hd.type == NGHTTP2_HEADERS ? stream_of(session, frame->hd.stream_id) : nullptr;
    client_of(user).begin_head(stream);
    if (stream != nullptr) stream->on_begin_fields();
    return 0;
  }

  static int on_header(nghttp2_session* /*session*/, const nghttp2_frame* /*frame*/, const std::uint8_t* name, std::size_t name_size,
                       const std::uint8_t* value, std::size_t value_size, std::uint8_t /*flags*/, void* user) {
    H2ClientStream* stream = client_of(user).head_stream();
    if (stream != nullptr) stream->on_field(text_of(name, name_size), text_of(value, value_size));
    return 0;
  }

  static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    switch (frame->hd.type) {
      case NGHTTP2_SETTINGS: client_of(user).on_settings(); return 0;
      case NGHTTP2_GOAWAY: client_of(user).on_goaway(); return 0;
      case NGHTTP2_HEADERS:
      case NGHTTP2_DATA:
      case NGHTTP2_RST_STREAM: break;
      default: return 0;
    }
    H2ClientStream* stream = stream_of(session, frame->hd.stream_id);
    if (stream == nullptr) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS) {
      stream->on_fields(ends_stream(frame->hd.flags));
    } else if (frame->hd.type == NGHTTP2_RST_STREAM) {
      stream->on_peer_reset();
    } else if (ends_stream(frame->hd.flags)) {
      stream->on_data_end();
    }
    return 0;
  }

  static int on_data(nghttp2_session* session, std::uint8_t /*flags*/, std::int32_t id, const std::uint8_t* data, std::size_t size,
                     void* user) {
    nghttp2_session_consume_connection(session, size);
    const bool last = client_of(user).take_data(size);
    if (H2ClientStream* stream = stream_of(session, id)) stream->on_data({data, size}, last);
    return 0;
  }

  static int on_stream_close(nghttp2_session* session, std::int32_t id, std::uint32_t error, void* user) {
    H2ClientStream* stream = stream_of(session, id);
    if (stream == nullptr) return 0;
    if (client_of(user).head_stream() == stream) client_of(user).begin_head(nullptr);
    stream->on_closed(error);
    return 0;
  }

  static int on_frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
      client_of(user).on_goaway_sent(frame->goaway.error_code == NGHTTP2_ENHANCE_YOUR_CALM);
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    H2ClientStream* stream = stream_of(session, frame->hd.stream_id);
    if (stream != nullptr) stream->on_made(ends_stream(frame->hd.flags));
    return 0;
  }

  static ssize_t read_body(nghttp2_session* session, std::int32_t id, std::uint8_t* into, std::size_t room, std::uint32_t* flags,
                           nghttp2_data_source* /*source*/, void* /*user*/) {
    H2ClientStream* stream = stream_of(session, id);
    if (stream == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    bool ended = false;
    std::span<const Http2Field> trailers;
    const std::size_t taken = stream->pull({into, room}, ended, trailers);
    if (!ended) return taken > 0 ? static_cast<ssize_t>(taken) : ssize_t{NGHTTP2_ERR_DEFERRED};
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (trailers.empty()) return static_cast<ssize_t>(taken);
    const NameValues list(trailers);
    if (nghttp2_submit_trailer(session, id, list.data(), list.size()) != 0) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return static_cast<ssize_t>(taken);
  }

  static nghttp2_session_callbacks* make() {
    nghttp2_session_callbacks* all = nullptr;
    CHECK(nghttp2_session_callbacks_new(&all) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(all, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(all, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(all, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(all, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(all, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(all, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(all, on_frame_sent);
    return all;
  }

  static nghttp2_option* make_options() {
    nghttp2_option* options = nullptr;
    CHECK(nghttp2_option_new(&options) == 0);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_no_http_messaging(options, 1);
    nghttp2_option_set_peer_max_concurrent_streams(options, kAssumedStreams);
    nghttp2_option_set_max_outbound_ack(options, kMaxAcks);
    nghttp2_option_set_max_reserved_remote_streams(options, 0);
    nghttp2_option_set_max_send_header_block_length(options, kMaxRequestHead);
    return options;
  }
};

H2ClientSession::H2ClientSession(H2Client& client, const HttpLimits& limits, const Http2ClientOptions& options) {
  nghttp2_session_callbacks* const callbacks = Callbacks::make();
  nghttp2_option* const option = Callbacks::make_options();
  nghttp2_session* made = nullptr;
  nghttp2_mem memory = nghttp2_memory(client.worker().blocks);
  CHECK(nghttp2_session_client_new3(&made, callbacks, &client, option, &memory) == 0);
  adopt(made);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(limits.header_bytes)},
  };
  CHECK(nghttp2_submit_settings(made, NGHTTP2_FLAG_NONE, settings, std::size(settings)) == 0);
  CHECK(nghttp2_session_set_local_window_size(made, NGHTTP2_FLAG_NONE, 0, kConnectionWindow) == 0);
  if (options.first_stream != 1) CHECK(nghttp2_session_set_next_stream_id(made, static_cast<std::int32_t>(options.first_stream)) == 0);
}

std::int32_t H2ClientSession::submit_request(std::span<const Http2Field> fields, bool has_body, H2ClientStream& stream) {
  const NameValues list(fields, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
  nghttp2_data_provider provider{};
  provider.read_callback = Callbacks::read_body;
  const std::int32_t id = nghttp2_submit_request(&raw(), nullptr, list.data(), list.size(), has_body ? &provider : nullptr, &stream);
  return id > 0 ? id : 0;
}

std::uint32_t H2ClientSession::allowed_streams() const {
  return nghttp2_session_get_remote_settings(&raw(), NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

bool H2ClientSession::may_open() const { return nghttp2_session_check_request_allowed(&raw()) != 0; }

}  // namespace weir
