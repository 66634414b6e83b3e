#include "proxy/upstream/upstream_link.h"

#include "proxy/upstream/upstream_call.h"

namespace weir {

UpstreamLink::UpstreamLink(WorkerContext& worker, Connector& connector, Service& service, const ClientMakers& makers)
    : worker_(worker),
      service_(service),
      metrics_(worker.metrics, service.name()),
      pool_(worker, connector, service, metrics_, makers),
      view_(service.attach(worker.index, worker.loop, *this)) {
  use_view();
}

UpstreamLink::~UpstreamLink() {
  pool_.close_all();  // first: detaching gives this worker's slots to others
  service_.detach(worker_.index);
}

CallPtr UpstreamLink::start(Request&& request, Caller& caller) {
  auto* call = make_call<UpstreamCall>(*request.exchange, caller, *this, std::move(request));
  CallPtr owned(call);
  call->begin();
  return owned;
}

EndpointPool* UpstreamLink::pick(const PickContext& context) {
  const MonotonicTime now = worker_.loop.now();
  Balancer::Surroundings around;
  if (looks_around_) {
    around.in_flight = service_.requests().used();
    around.any_warming = service_.any_warming(now, view_->config.slow_start);
  }
  const Balancer::Pick picked = balancer_.pick(view_->endpoints, context, service_.any_unusable(now), now, worker_.random, around);
  if (picked.index == Balancer::kNone) return nullptr;
  if (picked.panic) metrics_.panic(panic_reason(view_->endpoints, view_->config.panic_below, now));
  if (picked.passed_full) metrics_.passed_full.add();
  if (!view_->endpoints.dual_stack) return &pool_.at(picked.index);
  return &pool_.at(pool_.eyeballs().first(view_->endpoints, picked.index, context, now, worker_.random));
}

EndpointPool* UpstreamLink::pick_beside(const EndpointPool& first, const PickContext& context) {
  const EndpointSet& set = view_->endpoints;
  if (!set.dual_stack) return nullptr;
  for (std::size_t i = 0; i < set.size(); ++i) {
    if (&pool_.at(i) != &first) continue;
    const std::size_t other = HappyEyeballs::pick_other(set, i, context, worker_.loop.now(), worker_.random);
    return other == HappyEyeballs::kNone ? nullptr : &pool_.at(other);
  }
  return nullptr;  // it is no endpoint any more
}

std::uint64_t UpstreamLink::key_hash(const Request& request) {
  const auto hash = hash_of_key(view_->config.hash_key, request.head, request.exchange->client);
  return hash ? *hash : worker_.random.next();
}

void UpstreamLink::on_view(std::shared_ptr<const ServiceView> view) {
  if (view->version <= view_->version) return;
  const std::shared_ptr<const ServiceView> old = std::exchange(view_, std::move(view));  // until the pool has let go of it
  use_view();
}

void UpstreamLink::use_view() {
  const ServiceConfig& config = view_->config;
  balancer_.configure({config.balance, config.panic_below, config.hash_max_load, config.slow_start});
  looks_around_ = is_hashing(config.balance) || config.slow_start > Duration(0);
  balancer_.reset(view_->endpoints, worker_.random);
  pool_.set_view(*view_);
  if (view_->waiting && view_->endpoints.size() == 0) return;
  while (PoolWaiter* waiter = waiting_.pop_front()) waiter->on_endpoints();
}

}  // namespace weir
