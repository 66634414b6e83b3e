#include "proxy/sim/sim_connection.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "proxy/base/check.h"

namespace weir {

SimConnection::SimConnection(SimNet& owner, std::uint64_t number, const SimConditions& treated, const Address& target, const Address& from)
    : net(owner), id(number), conditions(treated), to(target) {
  ends_[0].address = from;
  ends_[1].address = target;
  if (net.random_.chance(conditions.reset)) reset_at_ = net.random_.below(conditions.within + 1);
  if (net.random_.chance(conditions.stall)) stall_at_ = net.random_.below(conditions.within + 1);
}

std::size_t SimConnection::room(int side) {
  const End& other = peer(side);
  const std::size_t used = other.under_way.size() + other.unread();
  return used >= conditions.window ? 0 : conditions.window - used;
}

IoResult SimConnection::read(int side, std::span<std::uint8_t> into) {
  End& mine = end(side);
  if (mine.unread() > 0) {
    std::size_t n = std::min(mine.unread(), into.size());
    if (n > 1 && net.random_.chance(conditions.short_read)) n = 1 + net.random_.below(n - 1);
    std::memcpy(into.data(), mine.waiting.data() + mine.read, n);
    mine.read += n;
    if (mine.unread() == 0) {
      mine.waiting.clear();
      mine.read = 0;
    }
    net.world().note(n);
    wake(1 - side);  // there is room again
    return {IoResult::Status::ok, n, 0};
  }
  if (mine.reset_arrived) return {IoResult::Status::error, 0, ECONNRESET};
  if (mine.fin_arrived) return {IoResult::Status::end, 0, 0};
  return {IoResult::Status::would_block, 0, 0};
}

IoResult SimConnection::write(int side, std::span<const iovec> from) {
  End& mine = end(side);
  if (mine.reset_arrived || mine.fin_sent) return {IoResult::Status::error, 0, EPIPE};
  std::size_t left = room(side);
  if (!mine.open || left == 0) return {IoResult::Status::would_block, 0, 0};
  if (left > 1 && net.random_.chance(conditions.short_write)) left = 1 + net.random_.below(left - 1);
  End& other = peer(side);
  std::size_t n = 0;
  for (const iovec& part : from) {
    const std::size_t taken = std::min(part.iov_len, left - n);
    other.under_way.append(static_cast<const char*>(part.iov_base), taken);
    n += taken;
  }
  if (n == 0) return {IoResult::Status::ok, 0, 0};  // nothing was given
  std::size_t first = n;
  if (n > 1 && net.random_.chance(conditions.fragment)) first = 1 + net.random_.below(n - 1);
  send(side, Arrival::data, first);
  if (first < n) send(side, Arrival::data, n - first);
  return {IoResult::Status::ok, n, 0};
}

void SimConnection::send_fin(int side) {
  End& mine = end(side);
  if (mine.fin_sent || mine.reset_arrived || !mine.open) return;
  mine.fin_sent = true;
  send(side, Arrival::fin, 0);
}

void SimConnection::send_reset(int side) {
  send(side, Arrival::reset, 0);
  End& mine = end(side);
  mine.reset_arrived = true;  // nothing more for this end either
  mine.open = false;
  mine.waiting.clear();
  mine.read = 0;
  wake(side);
}

void SimConnection::close(int side) {
  End& mine = end(side);
  // As the kernel: bytes that nobody will read turn the FIN into a RST. So does a client that goes before it knows the answer.
  if (mine.unread() > 0 || !mine.open) {
    if (!mine.reset_arrived) send_reset(side);
  } else {
    send_fin(side);
  }
  mine.stream = nullptr;
  mine.closed = true;
  if (side == 0) net.world().cancel(answer);
  if (peer(side).closed || peer(side).loop == nullptr) net.forget(*this);
}

Duration SimConnection::draw_delay() {
  const auto jitter = static_cast<std::uint64_t>(conditions.jitter.count());
  return conditions.delay + Duration(static_cast<std::int64_t>(net.random_.below(jitter + 1)));
}

void SimConnection::send(int from, Arrival kind, std::size_t bytes) {
  const int side = 1 - from;
  End& target = ends_[side];
  if (target.loop == nullptr) return;
  target.last_arrival = std::max(target.last_arrival, net.world().now() + draw_delay());
  net.later(*target.loop, target.last_arrival, *this,
            [side, kind, bytes](SimConnection& connection) { connection.arrive(side, kind, bytes); });
}

void SimConnection::arrive(int side, Arrival kind, std::size_t bytes) {
  End& mine = end(side);
  if (stalled_) {
    mine.held.emplace_back(kind, bytes);
    return;
  }
  if (mine.reset_arrived) return;
  if (kind == Arrival::data) {
    const std::size_t n = std::min(bytes, mine.under_way.size());
    if (mine.closed) {  // nobody is there: RST
      mine.under_way.erase(0, n);
      send_reset(side);
      return;
    }
    mine.waiting.append(mine.under_way, 0, n);
    mine.under_way.erase(0, n);
    count(n);
  } else if (kind == Arrival::fin) {
    mine.fin_arrived = true;
  } else {
    mine.reset_arrived = true;
    mine.under_way.clear();
  }
  wake(side);
}

void SimConnection::count(std::size_t bytes) {
  moved_ += bytes;
  if (moved_ >= reset_at_) {
    reset_at_ = SIZE_MAX;
    break_now();
  } else if (moved_ >= stall_at_) {
    stalled_ = true;
  }
}

void SimConnection::stall() { stalled_ = true; }

void SimConnection::unstall() {
  stalled_ = false;
  stall_at_ = SIZE_MAX;
  for (int side = 0; side < 2; ++side) {
    const auto held = std::move(end(side).held);
    end(side).held.clear();
    for (const auto& [kind, bytes] : held) arrive(side, kind, bytes);
  }
}

void SimConnection::break_now() {
  for (int side = 0; side < 2; ++side) {
    end(side).reset_arrived = true;
    end(side).under_way.clear();
    wake(side);
  }
}

void SimConnection::wake(int side) {
  if (end(side).stream != nullptr) end(side).stream->update();
}

// --- SimStream ----------------------------------------------------------------------------------------------------------------------

SimStream::SimStream(SimConnection& connection, int side, SimLoop& loop)
    : connection_(&connection), side_(side), loop_(loop), world_(loop.world()) {
  connection.end(side).stream = this;
  connection.end(side).loop = &loop;
  ++connection.net.open_streams_;
}

SimStream::~SimStream() {
  world_.cancel(read_event_);
  world_.cancel(write_event_);
  --connection_->net.open_streams_;
  connection_->close(side_);
}

void SimStream::set_handler(ByteStreamHandler* handler) {
  handler_ = handler;
  update();
}

void SimStream::want_read(bool wanted) {
  wants_read_ = wanted;
  update();
}

void SimStream::want_write(bool wanted) {
  wants_write_ = wanted;
  update();
}

IoResult SimStream::read(std::span<std::uint8_t> into) {
  const IoResult result = connection_->read(side_, into);
  update();
  return result;
}

IoResult SimStream::write(std::span<const iovec> from) {
  const IoResult result = connection_->write(side_, from);
  update();
  return result;
}

void SimStream::shutdown_write() { connection_->send_fin(side_); }

void SimStream::reset() { connection_->send_reset(side_); }

const Address& SimStream::local_address() const { return connection_->end(side_).address; }

const Address& SimStream::peer_address() const { return connection_->peer(side_).address; }

bool SimStream::readable() const {
  const SimConnection::End& mine = connection_->end(side_);
  return mine.unread() > 0 || mine.fin_arrived || mine.reset_arrived;
}

// As the kernel: not for every byte of room, but for a third of the window.
bool SimStream::writable() const {
  if (connection_->end(side_).reset_arrived) return true;
  return connection_->room(side_) * 3 >= connection_->conditions.window;
}

void SimStream::update() {
  const bool told = handler_ != nullptr && connection_->end(side_).open;
  arm(read_event_, told && wants_read_ && readable(), &SimStream::fire_readable);
  arm(write_event_, told && wants_write_ && writable(), &SimStream::fire_writable);
}

void SimStream::arm(SimWorld::EventId& event, bool wanted, void (SimStream::*fire)()) {
  if (wanted && !event) {
    event = world_.schedule_at(loop_, world_.now(), [this, fire] { (this->*fire)(); });
  } else if (!wanted && event) {
    world_.cancel(event);
    event = {};
  }
}

// Armed again before the handler is called, which may drop the stream: level-triggered, so that what it leaves comes back.
void SimStream::fire_readable() {
  read_event_ = {};
  update();
  handler_->on_readable();
}

void SimStream::fire_writable() {
  write_event_ = {};
  update();
  handler_->on_writable();
}

void SimStream::connected(int error) {
  SimConnection::End& mine = connection_->end(side_);
  if (error != 0) {
    mine.reset_arrived = true;
  } else {
    mine.open = true;
    update();
  }
  if (handler_ != nullptr) handler_->on_connected(error);
}

}  // namespace weir
