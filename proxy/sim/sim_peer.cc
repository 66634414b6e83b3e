#include "proxy/sim/sim_peer.h"

#include <utility>

namespace weir {

SimPeer::SimPeer(Connector& connector, const Address& to) : stream_(connector.connect(to, *this)) {}

SimPeer::SimPeer(std::unique_ptr<ByteStream> stream) : stream_(std::move(stream)), connected_(true) {
  stream_->set_handler(this);
  stream_->want_read(true);
}

void SimPeer::send(std::string_view bytes) {
  if (stream_ == nullptr || finishing_) return;
  unsent_ += bytes;
  if (connected_) flush();
}

void SimPeer::finish() {
  finishing_ = true;
  if (stream_ != nullptr && connected_) flush();
}

void SimPeer::reset() {
  if (stream_ == nullptr) return;
  stream_->reset();
  close();
}

void SimPeer::close() {
  stream_.reset();
  unsent_.clear();
}

void SimPeer::pause_reading(bool paused) {
  paused_ = paused;
  if (stream_ != nullptr && connected_) stream_->want_read(!paused && !ended_);  // also after a write that failed, which nobody was told
}

void SimPeer::flush() {
  while (!unsent_.empty()) {
    const iovec part{unsent_.data(), unsent_.size()};
    const IoResult result = stream_->write({&part, 1});
    if (result.status == IoResult::Status::would_block) {
      stream_->want_write(true);
      return;
    }
    if (!result.ok()) {
      error_ = result.error;
      unsent_.clear();
      break;
    }
    unsent_.erase(0, result.bytes);
  }
  stream_->want_write(false);
  if (finishing_) stream_->shutdown_write();
}

void SimPeer::on_connected(int error) {
  connected_ = error == 0;
  error_ = error;
  if (connected_) {
    stream_->want_read(!paused_);
    flush();
  }
  tell();
}

void SimPeer::on_readable() {
  std::uint8_t buffer[4096];
  const IoResult result = stream_->read(buffer);
  if (result.status == IoResult::Status::would_block) return;
  if (result.ok()) {
    received_.append(reinterpret_cast<const char*>(buffer), result.bytes);
  } else {
    ended_ = result.status == IoResult::Status::end;
    error_ = result.error;
    stream_->want_read(false);
  }
  tell();
}

void SimPeer::on_writable() { flush(); }

void SimPeer::tell() {
  if (on_change) on_change(*this);
}

SimServer::SimServer(SimNet& net, SimLoop& loop, const Address& at, Script script) : net_(net), at_(at), script_(std::move(script)) {
  net_.listen(loop, at_, *this);
}

SimServer::~SimServer() { net_.stop_listening(at_, *this); }

std::size_t SimServer::open() const {
  std::size_t count = 0;
  for (const auto& peer : peers_) count += peer->open() ? 1 : 0;
  return count;
}

void SimServer::on_accept(std::unique_ptr<ByteStream> stream) {
  ++accepted_;
  peers_.push_back(std::make_unique<SimPeer>(std::move(stream)));
  SimPeer& peer = *peers_.back();
  peer.on_change = script_;
  if (script_) script_(peer);
}

}  // namespace weir
