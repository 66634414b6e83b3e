#include "tests/support/h2_client.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstring>

#include "proxy/base/check.h"

namespace weir::test {

namespace {

std::vector<nghttp2_nv> name_values(const H2Fields& fields) {
  std::vector<nghttp2_nv> list;
  for (const auto& [name, value] : fields) {
    list.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                    reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
  }
  return list;
}

H2Client& client_of(void* user) { return *static_cast<H2Client*>(user); }

}  // namespace

std::string H2Reply::field(std::string_view name) const {
  for (const auto& [key, value] : fields) {
    if (key == name) return value;
  }
  return {};
}

struct H2Client::Callbacks {
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                       const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* user) {
    H2Reply& reply = client_of(user).replies_[frame->hd.stream_id];
    const std::string key(reinterpret_cast<const char*>(name), name_size);
    const std::string text(reinterpret_cast<const char*>(value), value_size);
    if (reply.head) {
      reply.trailers.emplace_back(key, text);
    } else if (key != ":status") {
      reply.fields.emplace_back(key, text);
    } else if (text[0] == '1') {
      reply.informational.push_back(std::stoi(text));
    } else {
      reply.status = std::stoi(text);
      reply.fields.clear();
    }
    return 0;
  }
  static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    H2Client& client = client_of(user);
    const bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS: {
        H2Reply& reply = client.replies_[frame->hd.stream_id];
        reply.head = reply.status != 0;
        reply.ended = reply.ended || end;
        break;
      }
      case NGHTTP2_DATA: client.replies_[frame->hd.stream_id].ended = end; break;
      case NGHTTP2_RST_STREAM: client.replies_[frame->hd.stream_id].reset = static_cast<int>(frame->rst_stream.error_code); break;
      case NGHTTP2_GOAWAY:
        client.goaway_code_ = static_cast<int>(frame->goaway.error_code);
        client.goaway_last_ = frame->goaway.last_stream_id;
        ++client.goaways_;
        break;
      case NGHTTP2_PING: client.pongs_ += (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 ? 1 : 0; break;
      case NGHTTP2_SETTINGS:
        client.max_streams_ = nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
        break;
      default: break;
    }
    return 0;
  }
  static int on_data(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* data, std::size_t size, void* user) {
    H2Client& client = client_of(user);
    client.replies_[id].body.append(reinterpret_cast<const char*>(data), size);
    nghttp2_session_consume_connection(session, size);
    if (!client.by_hand_) nghttp2_session_consume_stream(session, id, size);
    return 0;
  }
  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
    client_of(user).replies_[id].closed = true;
    return 0;
  }
  static int on_invalid_frame(nghttp2_session*, const nghttp2_frame*, int, void* user) {
    client_of(user).broken_ = true;
    return 0;
  }
  static int on_invalid_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t*, std::size_t, const std::uint8_t*, std::size_t,
                               std::uint8_t, void* user) {
    client_of(user).broken_ = true;
    return 0;
  }
  static ssize_t read_body(nghttp2_session* session, std::int32_t id, std::uint8_t* into, std::size_t room, std::uint32_t* flags,
                           nghttp2_data_source*, void* user) {
    Body& body = client_of(user).bodies_[id];
    const std::size_t n = std::min(room, body.out.size());
    if (n == 0 && !body.finished) return NGHTTP2_ERR_DEFERRED;
    std::memcpy(into, body.out.data(), n);
    body.out.erase(0, n);
    if (!body.finished || !body.out.empty()) return static_cast<ssize_t>(n);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!body.trailers.empty()) {
      const auto list = name_values(body.trailers);
      nghttp2_submit_trailer(session, id, list.data(), list.size());
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    }
    return static_cast<ssize_t>(n);
  }
};

H2Client::H2Client(Connector& connector, const Address& to, H2ClientOptions options) : peer_(connector, to), by_hand_(options.by_hand) {
  nghttp2_session_callbacks* all = nullptr;
  nghttp2_session_callbacks_new(&all);
  nghttp2_session_callbacks_set_on_header_callback(all, Callbacks::on_header);
  nghttp2_session_callbacks_set_on_frame_recv_callback(all, Callbacks::on_frame);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(all, Callbacks::on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(all, Callbacks::on_close);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(all, Callbacks::on_invalid_frame);
  nghttp2_session_callbacks_set_on_invalid_header_callback(all, Callbacks::on_invalid_header);
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_session_client_new2(&session_, all, this, option);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(all);
  const nghttp2_settings_entry entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options.window};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &entry, 1);
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, options.connection_window);
  peer_.on_change = [this](SimPeer&) { on_change(); };
  flush();
}

H2Client::~H2Client() {
  peer_.on_change = nullptr;
  nghttp2_session_del(session_);
}

std::int32_t H2Client::submit(const H2Fields& fields, bool has_body) {
  const auto list = name_values(fields);
  nghttp2_data_provider provider{};
  provider.read_callback = Callbacks::read_body;
  const std::int32_t id = nghttp2_submit_request(session_, nullptr, list.data(), list.size(), has_body ? &provider : nullptr, nullptr);
  WEIR_CHECK(id > 0);
  replies_[id];
  return id;
}

std::int32_t H2Client::open(const H2Fields& all, bool has_body) {
  const std::int32_t id = submit(all, has_body);
  flush();
  return id;
}

namespace {

H2Fields with_pseudo(std::string_view method, std::string_view path, const H2Fields& more) {
  H2Fields all{{":method", std::string(method)}, {":scheme", "http"}, {":authority", "test.local"}, {":path", std::string(path)}};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

std::int32_t H2Client::request(std::string_view method, std::string_view path, const H2Fields& more) {
  return open(with_pseudo(method, path, more), false);
}

std::int32_t H2Client::open(std::string_view method, std::string_view path, const H2Fields& more) {
  return open(with_pseudo(method, path, more), true);
}

std::int32_t H2Client::post(std::string_view path, std::string_view body, const H2Fields& more) {
  const std::int32_t id = submit(with_pseudo("POST", path, more), true);
  bodies_[id].out = body;
  bodies_[id].finished = true;
  flush();
  return id;
}

void H2Client::write(std::int32_t id, std::string_view bytes) {
  bodies_[id].out += bytes;
  nghttp2_session_resume_data(session_, id);
  flush();
}

void H2Client::finish(std::int32_t id, const H2Fields& trailers) {
  bodies_[id].finished = true;
  bodies_[id].trailers = trailers;
  nghttp2_session_resume_data(session_, id);
  flush();
}

void H2Client::reset(std::int32_t id, std::uint32_t code) {
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, code);
  flush();
}

void H2Client::consume(std::int32_t id, std::size_t bytes) {
  nghttp2_session_consume_stream(session_, id, bytes);
  flush();
}

void H2Client::ping() {
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  flush();
}

void H2Client::on_change() {
  const std::string bytes = peer_.take();
  if (!bytes.empty()) {
    busy_ = true;
    const ssize_t n = nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    busy_ = false;
    if (n < 0) broken_ = true;
  }
  flush();
  if (on_update) on_update();
}

void H2Client::flush() {
  if (busy_ || !peer_.open()) return;
  for (;;) {
    const std::uint8_t* data = nullptr;
    const ssize_t n = nghttp2_session_mem_send(session_, &data);
    if (n <= 0) return;
    peer_.send({reinterpret_cast<const char*>(data), static_cast<std::size_t>(n)});
  }
}

}  // namespace weir::test
