#include "proxy/upstream/upstream_link.h"

#include "proxy/upstream/upstream_call.h"

namespace weir {

UpstreamLink::UpstreamLink(WorkerContext& worker, Connector& connector, Service& service, MakeClientConnection make_client)
    : worker_(worker),
      service_(service),
      metrics_(worker.metrics, service.name()),
      pool_(worker, connector, service, metrics_, make_client),
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
  const Balancer::Pick picked =
      balancer_.pick(view_->endpoints, context, service_.any_ejected(now), now, worker_.random);
  if (picked.index == Balancer::kNone) return nullptr;
  if (picked.panic) metrics_.panic.add();
  return &pool_.at(picked.index);
}

void UpstreamLink::on_view(std::shared_ptr<const ServiceView> view) {
  if (view->version <= view_->version) return;
  const std::shared_ptr<const ServiceView> old = std::exchange(view_, std::move(view));  // until the pool has let go of it
  use_view();
}

void UpstreamLink::use_view() {
  balancer_.configure(view_->config.balance, view_->config.panic_below);
  balancer_.reset(view_->endpoints, worker_.random);
  pool_.set_view(*view_);
  if (view_->waiting && view_->endpoints.size() == 0) return;
  while (PoolWaiter* waiter = waiting_.pop_front()) waiter->on_endpoints();
}

}  // namespace weir
