#include "tests/support/sim_peers.h"

#include <algorithm>
#include <cstring>

namespace weir::test {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

// Decodes a chunked body; npos while it is not whole. `used` counts the bytes up to its end.
bool take_chunked(std::string_view bytes, std::string& body, std::size_t& used) {
  used = 0;
  while (true) {
    const std::size_t line = bytes.find("\r\n", used);
    if (line == std::string_view::npos) return false;
    const std::size_t size = std::stoul(std::string(bytes.substr(used, line - used)), nullptr, 16);
    used = line + 2;
    if (size == 0) {
      const std::size_t end = bytes.find("\r\n", used);
      if (end == std::string_view::npos) return false;
      if (end == used) {
        used += 2;
        return true;
      }
      const std::size_t after_trailers = bytes.find("\r\n\r\n", used);
      if (after_trailers == std::string_view::npos) return false;
      used = after_trailers + 4;
      return true;
    }
    if (bytes.size() < used + size + 2) return false;
    body += bytes.substr(used, size);
    used += size + 2;
  }
}

}  // namespace

std::string Message::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (lower(key) == lower(name)) return value;
  }
  return {};
}

bool Message::has(std::string_view name) const {
  return std::any_of(headers.begin(), headers.end(), [&](const auto& one) { return lower(one.first) == lower(name); });
}

bool take_message(std::string& bytes, bool is_response, bool to_head, bool closed, Message& out) {
  const std::size_t head_end = bytes.find("\r\n\r\n");
  if (head_end == std::string::npos) return false;
  out = Message();
  std::size_t at = bytes.find("\r\n");
  out.start_line = bytes.substr(0, at);
  while (at < head_end) {
    at += 2;
    const std::size_t end = bytes.find("\r\n", at);
    const std::string line = bytes.substr(at, end - at);
    const std::size_t colon = line.find(':');
    std::size_t value = colon + 1;
    while (value < line.size() && line[value] == ' ') ++value;
    out.headers.emplace_back(line.substr(0, colon), line.substr(value));
    at = end;
  }
  const std::size_t body_at = head_end + 4;
  std::size_t used = body_at;
  const int status = is_response ? out.status() : 0;
  const bool bodiless = is_response && (to_head || status / 100 == 1 || status == 204 || status == 304);
  if (bodiless) {
    // nothing follows
  } else if (lower(out.header("transfer-encoding")) == "chunked") {
    std::size_t chunks = 0;
    if (!take_chunked(std::string_view(bytes).substr(body_at), out.body, chunks)) return false;
    used += chunks;
  } else if (out.has("content-length")) {
    const std::size_t length = std::stoul(out.header("content-length"));
    if (bytes.size() < body_at + length) return false;
    out.body = bytes.substr(body_at, length);
    used += length;
  } else if (is_response) {
    if (!closed) return false;
    out.body = bytes.substr(body_at);
    used = bytes.size();
  }
  out.complete = true;
  bytes.erase(0, used);
  return true;
}

RawPeer::~RawPeer() { close(); }

void RawPeer::adopt(std::unique_ptr<ByteStream> stream) {
  stream_ = std::move(stream);
  connected_ = true;
  stream_->set_handler(this);
  stream_->want_read(true);
}

void RawPeer::adopt_secured(std::unique_ptr<TlsStream> stream) {
  TlsStream& secured = *stream;
  stream_ = std::move(stream);
  stream_->set_handler(this);
  secured.handshake();
}

void RawPeer::on_connected(int error) {
  if (error != 0) {
    refused_ = true;
    return;
  }
  connected_ = true;
  stream_->want_read(true);
  flush();
}

void RawPeer::send(std::string_view text) {
  out_ += text;
  if (connected_) flush();
}

void RawPeer::finish() {
  finish_ = true;
  if (connected_) flush();
}

void RawPeer::reset() {
  if (stream_ == nullptr) return;
  stream_->reset();
  close();
}

void RawPeer::close() {
  if (stream_ != nullptr) stream_->set_handler(nullptr);
  stream_.reset();
}

void RawPeer::cut() {
  static_cast<TlsStream&>(*stream_).release_inner().reset();
  stream_.reset();
}

void RawPeer::flush() {
  while (stream_ != nullptr && !out_.empty()) {
    const iovec part{out_.data(), out_.size()};
    const IoResult wrote = stream_->write({&part, 1});
    if (wrote.status == IoResult::Status::would_block) {
      stream_->want_write(true);
      return;
    }
    if (!wrote.ok()) {
      reset_ = true;
      stream_->want_write(false);
      return;
    }
    out_.erase(0, wrote.bytes);
  }
  if (stream_ == nullptr) return;
  stream_->want_write(false);
  if (finish_) stream_->shutdown_write();
}

void RawPeer::on_writable() { flush(); }

void RawPeer::on_readable() {
  std::uint8_t buffer[16384];
  const IoResult got = stream_->read(buffer);
  if (got.ok()) {
    received.append(reinterpret_cast<const char*>(buffer), got.bytes);
  } else if (got.status == IoResult::Status::end) {
    fin_ = true;
    stream_->want_read(false);
  } else if (got.status == IoResult::Status::error) {
    reset_ = true;
    stream_->want_read(false);
  }
  on_bytes();
}

SimClient::SimClient(Connector& connector, const Address& to) { stream_ = connector.connect(to, *this); }

void SimClient::get(std::string_view path, std::string_view more_fields) { request("GET", path, "", more_fields); }

void SimClient::request(std::string_view method, std::string_view path, std::string_view body, std::string_view more_fields) {
  std::string text = std::string(method) + " " + std::string(path) + " HTTP/1.1\r\nHost: test.local\r\n" + std::string(more_fields);
  if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  head_.push_back(method == "HEAD");
  send(text + "\r\n" + std::string(body));
}

const std::vector<Message>& SimClient::answers() {
  Message next;
  while (true) {
    const auto finals = std::count_if(answers_.begin(), answers_.end(), [](const Message& m) { return m.status() >= 200; });
    const auto at = static_cast<std::size_t>(finals);
    if (!take_message(received, true, at < head_.size() && head_[at], over(), next)) return answers_;
    answers_.push_back(next);
  }
}

void UpstreamPeer::answer(int status, std::string_view body, std::string_view more_fields, Duration after) {
  std::string text = "HTTP/1.1 " + std::to_string(status) + " Some\r\n" + std::string(more_fields) +
                     "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
  if (after == Duration(0)) return send(text);
  loop_.world().schedule_at(loop_, loop_.now() + after, [peer = self, text] {
    if (const auto alive = peer.lock(); alive != nullptr && alive->open()) alive->send(text);
  });
}

void UpstreamPeer::on_bytes() {
  Message message;
  while (take_message(received, false, false, false, message)) {
    ++requests;
    upstream_.seen.push_back(message);
    upstream_.script(*this, message, static_cast<int>(upstream_.seen.size()));
  }
  if (!upstream_.whole_requests && requests == 0 && received.find("\r\n\r\n") != std::string::npos) {
    ++requests;
    upstream_.seen.push_back(message);
    upstream_.script(*this, message, static_cast<int>(upstream_.seen.size()));
  }
  if (got_fin()) close();
}

SimUpstream::SimUpstream(SimNet& net, SimLoop& loop, const Address& at) : net_(net), loop_(loop), at_(at) {
  script = [](UpstreamPeer& peer, const Message&, int) { peer.answer(200, "ok"); };
  up();
}

SimUpstream::~SimUpstream() { down(); }

void SimUpstream::up() {
  if (!listening_) net_.listen(loop_, at_, *this);
  listening_ = true;
}

void SimUpstream::down() {
  if (listening_) net_.stop_listening(at_, *this);
  listening_ = false;
}

std::size_t SimUpstream::open_connections() const {
  return static_cast<std::size_t>(std::count_if(peers.begin(), peers.end(), [](const auto& one) { return one->open() && !one->over(); }));
}

void SimUpstream::on_accept(std::unique_ptr<ByteStream> stream) {
  ++accepted;
  auto peer = std::make_shared<UpstreamPeer>(*this, loop_);
  peer->self = peer;
  peers.push_back(peer);
  if (tls == nullptr) return peer->adopt(std::move(stream));
  peer->adopt_secured(std::make_unique<TlsStream>(loop_, buffers, tls, std::move(stream)));
}

}  // namespace weir::test
