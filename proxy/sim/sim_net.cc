#include "proxy/sim/sim_net.h"

#include <algorithm>
#include <cerrno>

#include "proxy/base/check.h"
#include "proxy/sim/sim_connection.h"

namespace weir {

struct SimNet::LoopConnector final : Connector {
  LoopConnector(SimNet& owner, SimLoop& at) : net(owner), loop(at) {}
  std::unique_ptr<ByteStream> connect(const Address& to, ByteStreamHandler& handler) override { return net.connect_on(loop, to, handler); }
  SimNet& net;
  SimLoop& loop;
};

SimNet::SimNet(SimLoop& loop) : loop_(loop), random_(loop.world().random().next()) {}

SimNet::~SimNet() { WEIR_CHECK(open_streams_ == 0); }

std::unique_ptr<ByteStream> SimNet::connect(const Address& to, ByteStreamHandler& handler) { return connect_on(loop_, to, handler); }

Connector& SimNet::connector(SimLoop& loop) {
  std::unique_ptr<LoopConnector>& connector = connectors_[&loop];
  if (connector == nullptr) connector = std::make_unique<LoopConnector>(*this, loop);
  return *connector;
}

void SimNet::listen(SimLoop& loop, const Address& at, AcceptHandler& handler) {
  listeners_[std::string(at.text())].push_back({&loop, &handler});
}

void SimNet::stop_listening(const Address& at) {
  const auto found = listeners_.find(at.text());
  if (found != listeners_.end()) listeners_.erase(found);
}

void SimNet::stop_listening(const Address& at, const AcceptHandler& handler) {
  const auto found = listeners_.find(at.text());
  if (found == listeners_.end()) return;
  auto& all = found->second;
  all.erase(std::remove_if(all.begin(), all.end(), [&](const Listener& l) { return l.handler == &handler; }), all.end());
  if (all.empty()) listeners_.erase(found);
}

SimConditions& SimNet::conditions(const Address& to) { return conditions_.try_emplace(std::string(to.text()), defaults_).first->second; }

const SimConditions& SimNet::conditions_of(const Address& to) const {
  const auto found = conditions_.find(to.text());
  return found == conditions_.end() ? defaults_ : found->second;
}

std::unique_ptr<ByteStream> SimNet::connect_on(SimLoop& loop, const Address& to, ByteStreamHandler& handler) {
  ++connects_;
  const std::uint64_t id = next_id_++;
  Address from = to;  // a unix socket's client has no name of its own
  if (to.family() != Address::Family::unix_path) from = to.with_port(static_cast<std::uint16_t>(20000 + id % 40000));
  auto made = std::make_unique<SimConnection>(*this, id, conditions_of(to), to, from);
  SimConnection& connection = *made;
  connections_.emplace(id, std::move(made));
  auto stream = std::make_unique<SimStream>(connection, 0, loop);
  stream->set_handler(&handler);
  if (random_.chance(connection.conditions.black_hole)) return stream;
  connection.answer =
      later(loop, world().now() + connection.conditions.delay, connection, [this](SimConnection& arrived) { answer_connect(arrived); });
  return stream;
}

SimWorld::EventId SimNet::later(SimLoop& loop, MonotonicTime time, SimConnection& connection, std::function<void(SimConnection&)> task) {
  return world().schedule_at(loop, time, [this, alive = std::weak_ptr<int>(alive_), id = connection.id, what = std::move(task)] {
    if (alive.expired()) return;
    const auto found = connections_.find(id);
    if (found != connections_.end()) what(*found->second);
  });
}

// The SYN has arrived: the listener's kernel answers at once, whether or not the listener ever accepts.
void SimNet::answer_connect(SimConnection& connection) {
  const auto found = listeners_.find(connection.to.text());
  const bool refused = found == listeners_.end() || random_.chance(connection.conditions.refuse);
  if (!refused) {
    const Listener& listener = found->second[random_.below(found->second.size())];
    connection.end(1).loop = listener.loop;
    connection.end(1).open = true;
    later(*listener.loop, world().now(), connection,
          [this, handler = listener.handler](SimConnection& arrived) { accept(arrived, handler); });
  }
  connection.answer = later(*connection.end(0).loop, world().now() + connection.conditions.delay, connection,
                            [error = refused ? connection.conditions.refuse_error : 0](SimConnection& answered) {
                              if (answered.end(0).stream != nullptr) answered.end(0).stream->connected(error);
                            });
}

void SimNet::accept(SimConnection& connection, AcceptHandler* handler) {
  const auto found = listeners_.find(connection.to.text());
  const auto listens = [&](const Listener& listener) { return listener.handler == handler; };
  if (found == listeners_.end() || std::none_of(found->second.begin(), found->second.end(), listens)) {
    connection.send_reset(1);  // the listening socket was closed with this one in its queue
    connection.close(1);
    return;
  }
  handler->on_accept(std::make_unique<SimStream>(connection, 1, *connection.end(1).loop));
}

void SimNet::forget(SimConnection& connection) { connections_.erase(connection.id); }

template <class F>
void SimNet::for_each_to(const Address& to, F apply) {
  for (auto& [id, connection] : connections_) {
    if (connection->to == to) apply(*connection);
  }
}

void SimNet::stall(const Address& to) {
  for_each_to(to, [](SimConnection& connection) { connection.stall(); });
}

void SimNet::unstall(const Address& to) {
  for_each_to(to, [](SimConnection& connection) { connection.unstall(); });
}

void SimNet::reset(const Address& to) {
  for_each_to(to, [](SimConnection& connection) { connection.break_now(); });
}

}  // namespace weir
