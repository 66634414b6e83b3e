#include "proxy/server/worker.h"

#include <algorithm>

namespace weir {
namespace {

constexpr std::size_t kKeptArenas = 64;

}  // namespace

Worker::Worker(const WorkerParts& parts)
    : random_(parts.seed),
      context_{parts.loop,
               buffers_,
               arenas_,
               random_,
               parts.metrics.shard(parts.index + std::size_t{1}),
               parts.index,
               {},
               SplicePipes(parts.splice_pipes)},
      directory_(parts.directory),
      states_(parts.states),
      pressure_(parts.pressure),
      log_(parts.log),
      services_(std::make_unique<WorkerServices>(context_, parts.connector, parts.directory)),
      free_unused_(parts.loop, Callback::to<&Worker::free_unused>(this)) {}

Worker::~Worker() {
  close_all();
  listeners_.clear();
  leaving_.clear();
  context_.loop.settle();  // what was dropped is freed while the chains that it came from still stand
  free_unused_.cancel();
  if (!snapshots_.empty() && snapshots_.back()->held()) snapshots_.back()->release();
  free_unused_.cancel();
  snapshots_.clear();
  services_.reset();
  context_.loop.settle();
}

void Worker::use_access_log(const WorkerPlan& plan) {
  if (plan.access_log != log_sink_) {
    access_log_.reset();  // writes its last lines to the old sink
    log_sink_ = plan.access_log;
    if (log_sink_ != nullptr) access_log_ = std::make_unique<AccessLog>(context_.loop, *log_sink_, context_.metrics);
  }
  if (access_log_ != nullptr) access_log_->set_rules(plan.access_log_rules);
}

void Worker::apply(const WorkerPlan& plan) {
  use_access_log(plan);
  const RouteTableParts parts{*plan.config, context_, states_, *services_, directory_, &pressure_};
  snapshots_.push_back(std::make_unique<Snapshot>(plan.config, plan.generation, parts, Callback::to<&Deferred::schedule>(&free_unused_)));
  Snapshot& next = *snapshots_.back();
  next.retain();
  std::vector<std::unique_ptr<WorkerListener>> old = std::move(listeners_);
  listeners_.clear();
  for (const WorkerPlan::Listener& wanted : plan.listeners) {
    const auto found = std::find_if(old.begin(), old.end(), [&](const auto& one) { return one != nullptr && one->name() == wanted.name; });
    if (found != old.end()) {
      listeners_.push_back(std::move(*found));
    } else {
      listeners_.push_back(std::make_unique<WorkerListener>(context_, wanted.name, log_));
    }
    WorkerListener& listener = *listeners_.back();
    const RouteTable* routes = next.table(wanted.name);
    CHECK(routes != nullptr);
    listener.apply(next, *routes, access_log_.get());
    listener.use_socket(wanted.share, wanted.socket);
  }
  for (auto& one : old) {
    if (one == nullptr) continue;
    one->leave();
    leaving_.push_back(std::move(one));
  }
  for (auto& one : leaving_) one->use_log(access_log_.get());
  if (snapshots_.size() > 1) snapshots_[snapshots_.size() - 2]->release();
  drop_left();
}

template <class F>
void Worker::each(Direction direction, const F& apply) {
  for (const auto& one : listeners_) {
    if (one->inbound() == (direction == Direction::inbound)) apply(*one);
  }
  for (const auto& one : leaving_) {
    if (one->inbound() == (direction == Direction::inbound)) apply(*one);
  }
}

void Worker::stop_accepting(Direction direction) {
  each(direction, [](WorkerListener& one) { one.stop_accepting(); });
}

void Worker::begin_drain(Direction direction) {
  each(direction, [](WorkerListener& one) { one.begin_drain(); });
}

void Worker::close_idle(Direction direction) {
  each(direction, [](WorkerListener& one) { one.close_idle(); });
}

void Worker::close_all() {
  for (const auto& one : listeners_) {
    one->stop_accepting();
    one->close_all();
  }
  for (const auto& one : leaving_) one->close_all();
  services_->drain();
  if (access_log_ != nullptr) access_log_->flush();
}

void Worker::tidy() {
  buffers_.trim();
  arenas_.trim(kKeptArenas);
  context_.blocks.trim();
  context_.splice_pipes.trim();
  for (const auto& one : listeners_) one->note_pauses();
  drop_left();
}

WorkerStatus Worker::status() const {
  WorkerStatus status;
  status.exchanges = exchanges_of_gone_;
  const auto add = [&status](const WorkerListener& one) {
    status.exchanges += one.exchanges();
    if (one.inbound()) {
      status.inbound_connections += one.connections();
      status.inbound_in_flight += one.in_flight();
    } else {
      status.outbound_connections += one.connections();
      status.outbound_in_flight += one.in_flight();
      status.outbound_activity = std::max(status.outbound_activity, one.last_activity());
    }
  };
  for (const auto& one : listeners_) add(*one);
  for (const auto& one : leaving_) add(*one);
  return status;
}

void Worker::drop_left() {
  const auto gone = std::stable_partition(leaving_.begin(), leaving_.end(),
                                          [](const auto& one) { return one->connections() != 0 || one->in_flight() != 0; });
  for (auto one = gone; one != leaving_.end(); ++one) exchanges_of_gone_ += (*one)->exchanges();
  leaving_.erase(gone, leaving_.end());
}

// On a turn of its own: what was dropped with the last exchange of a snapshot has been freed by then.
void Worker::free_unused() {
  snapshots_.erase(std::remove_if(snapshots_.begin(), snapshots_.end(), [](const auto& one) { return !one->held(); }), snapshots_.end());
}

}  // namespace weir
