#include "tests/support/h2_upstream.h"

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

H2Peer& peer_of(void* user) { return *static_cast<H2Peer*>(user); }

H2Fields with_status(int status, const H2Fields& fields) {
  H2Fields all{{":status", std::to_string(status)}};
  all.insert(all.end(), fields.begin(), fields.end());
  return all;
}

}  // namespace

std::string H2Request::field(std::string_view name) const {
  std::string all;
  bool first = true;
  for (const auto& [key, value] : fields) {
    if (key != name) continue;
    if (!first) all += '|';
    first = false;
    all += value;
  }
  return all;
}

struct H2Peer::Callbacks {
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                       const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* user) {
    H2Request& request = peer_of(user).requests_[frame->hd.stream_id];
    (request.head ? request.trailers : request.fields)
        .emplace_back(std::string(reinterpret_cast<const char*>(name), name_size),
                      std::string(reinterpret_cast<const char*>(value), value_size));
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    H2Peer& peer = peer_of(user);
    const bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    const bool ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
    if (frame->hd.type == NGHTTP2_PING) ++(ack ? peer.pongs_ : peer.pings_);
    if (frame->hd.type == NGHTTP2_GOAWAY) peer.goaway_code_ = static_cast<int>(frame->goaway.error_code);
    if (frame->hd.stream_id == 0) return 0;
    if (frame->hd.type == NGHTTP2_RST_STREAM) peer.requests_[frame->hd.stream_id].reset = static_cast<int>(frame->rst_stream.error_code);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    H2Request& request = peer.requests_[frame->hd.stream_id];
    request.id = frame->hd.stream_id;
    const bool first = !request.head;
    request.head = true;
    request.ended = end;
    if (peer.at_head_ ? first : end) peer.arrived_.push_back(request.id);
    return 0;
  }
  static int on_data(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* data, std::size_t size, void* user) {
    H2Peer& peer = peer_of(user);
    peer.requests_[id].body.append(reinterpret_cast<const char*>(data), size);
    nghttp2_session_consume_connection(session, size);
    if (!peer.by_hand_) nghttp2_session_consume_stream(session, id, size);
    return 0;
  }
  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
    peer_of(user).requests_[id].closed = true;
    return 0;
  }
  // Streams above the limit that are begun before the other side can know it are refused, and are no fault (RFC 9113 5.1.2).
  static int on_invalid_frame(nghttp2_session*, const nghttp2_frame*, int error, void* user) {
    if (error != NGHTTP2_ERR_REFUSED_STREAM) peer_of(user).broken_ = true;
    return 0;
  }
  static int on_invalid_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t*, std::size_t, const std::uint8_t*, std::size_t,
                               std::uint8_t, void* user) {
    peer_of(user).broken_ = true;
    return 0;
  }
  static ssize_t read_body(nghttp2_session* session, std::int32_t id, std::uint8_t* into, std::size_t room, std::uint32_t* flags,
                           nghttp2_data_source*, void* user) {
    Body& body = peer_of(user).bodies_[id];
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

H2Peer::H2Peer(SimPeer& peer, H2PeerOptions options, Script script, bool at_head)
    : peer_(peer), script_(std::move(script)), by_hand_(options.by_hand), at_head_(at_head) {
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
  nghttp2_session_server_new2(&session_, all, this, option);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(all);
  const nghttp2_settings_entry entries[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options.max_streams},
                                            {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options.window}};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries, 2);
  flush();
}

H2Peer::~H2Peer() { nghttp2_session_del(session_); }

void H2Peer::submit(std::int32_t id, int status, const H2Fields& fields, bool has_body) {
  const H2Fields all = with_status(status, fields);
  const auto list = name_values(all);
  nghttp2_data_provider provider{};
  provider.read_callback = Callbacks::read_body;
  nghttp2_submit_response(session_, id, list.data(), list.size(), has_body ? &provider : nullptr);
}

void H2Peer::answer(std::int32_t id, int status, std::string_view body, const H2Fields& fields, const H2Fields& trailers) {
  bodies_[id] = {std::string(body), trailers, true};
  submit(id, status, fields, !body.empty() || !trailers.empty());
  flush();
}

void H2Peer::inform(std::int32_t id, int status, const H2Fields& fields) {
  const H2Fields all = with_status(status, fields);
  const auto list = name_values(all);
  nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, id, nullptr, list.data(), list.size(), nullptr);
  flush();
}

void H2Peer::begin(std::int32_t id, int status, const H2Fields& fields) {
  bodies_[id];
  submit(id, status, fields, true);
  flush();
}

void H2Peer::write(std::int32_t id, std::string_view bytes) {
  bodies_[id].out += bytes;
  nghttp2_session_resume_data(session_, id);
  flush();
}

void H2Peer::finish(std::int32_t id, const H2Fields& trailers) {
  bodies_[id].finished = true;
  bodies_[id].trailers = trailers;
  nghttp2_session_resume_data(session_, id);
  flush();
}

void H2Peer::reset(std::int32_t id, std::uint32_t code) {
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, code);
  flush();
}

void H2Peer::consume(std::int32_t id, std::size_t bytes) {
  nghttp2_session_consume_stream(session_, id, bytes);
  flush();
}

void H2Peer::goaway(std::int32_t last, std::uint32_t code) {
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, last, code, nullptr, 0);
  flush();
}

void H2Peer::allow(std::uint32_t max_streams) {
  const nghttp2_settings_entry entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, max_streams};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &entry, 1);
  flush();
}

void H2Peer::ping() {
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  flush();
}

std::vector<std::int32_t> H2Peer::open() const {
  std::vector<std::int32_t> ids;
  for (const auto& [id, request] : requests_) {
    if (request.head && !request.closed) ids.push_back(id);
  }
  return ids;
}

std::int32_t H2Peer::received_window(std::int32_t id) const { return nghttp2_session_get_stream_remote_window_size(session_, id); }

void H2Peer::on_change() {
  const std::string bytes = peer_.take();
  if (!bytes.empty()) {
    busy_ = true;
    const ssize_t n = nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    busy_ = false;
    if (n < 0) broken_ = true;
  }
  for (const std::int32_t id : std::exchange(arrived_, {})) {
    if (script_) script_(*this, requests_[id]);
  }
  flush();
}

void H2Peer::flush() {
  if (busy_ || !peer_.open()) return;
  for (;;) {
    const std::uint8_t* data = nullptr;
    const ssize_t n = nghttp2_session_mem_send(session_, &data);
    if (n <= 0) return;
    peer_.send({reinterpret_cast<const char*>(data), static_cast<std::size_t>(n)});
  }
}

// ---- H2Upstream ----

H2Upstream::H2Upstream(SimNet& net, SimLoop& loop, const Address& at, H2PeerOptions with)
    : script([](H2Peer& peer, H2Request& request) { peer.answer(request.id, 200, "ok"); }),
      options(with),
      loop_(loop),
      server_(std::make_unique<SimServer>(net, loop, at, [this](SimPeer& peer) { on_change(peer); })) {}

void H2Upstream::on_change(SimPeer& peer) {
  const auto found = std::find_if(peers.begin(), peers.end(), [&](const auto& one) { return &one->peer() == &peer; });
  if (found != peers.end()) return (*found)->on_change();
  peers.push_back(std::make_unique<H2Peer>(
      peer, options, [this](H2Peer& at, H2Request& request) { script(at, request); }, at_head));
  peers.back()->on_change();
}

std::size_t H2Upstream::requests() const {
  std::size_t count = 0;
  for (const auto& peer : peers) count += peer->requests().size();
  return count;
}

bool H2Upstream::broken() const {
  return std::any_of(peers.begin(), peers.end(), [](const auto& peer) { return peer->broken(); });
}

void H2Upstream::later(Duration after, std::function<void()> what) {
  loop_.world().schedule_at(loop_, loop_.now() + after, [alive = std::weak_ptr<int>(alive_), what = std::move(what)] {
    if (!alive.expired()) what();
  });
}

}  // namespace weir::test
