// UpstreamLink: the innermost link: picks an endpoint, takes a pooled connection and sends the request; each start is one try.
// WorkerServices owns one for each service; chains borrow it. Its calls live in their exchange's arena (upstream_call.h).
// It never tries twice: that is the retry filter's business.
#pragma once

#include <memory>

#include "proxy/chain/link.h"
#include "proxy/upstream/balancer.h"
#include "proxy/upstream/pool.h"
#include "proxy/upstream/service.h"
#include "proxy/upstream/upstream_metrics.h"

namespace weir {

class UpstreamLink final : public Link, private ServiceWorker {
 public:
  UpstreamLink(WorkerContext& worker, Connector& connector, Service& service, const ClientMakers& makers);
  ~UpstreamLink() override;
  CallPtr start(Request&& request, Caller& caller) override;

  Service& service() { return service_; }
  ServicePool& pool() { return pool_; }
  UpstreamMetrics& metrics() { return metrics_; }
  const ServiceView& view() const { return *view_; }

  bool hashes_by_key() const { return is_hashing(view_->config.balance) && !view_->config.hash_key.empty(); }
  std::uint64_t key_hash(const Request& request);  // for PickContext; by chance when the request has none of the key
  bool weighs_latency() const { return view_->config.balance == Balance::peak_ewma; }  // else nobody looks at it

  // Where the next try goes; null when there is no endpoint (yet).
  EndpointPool* pick(const PickContext& context);
  // Of the other family of addresses than `first`; null when the service has none (happy_eyeballs.h).
  EndpointPool* pick_beside(const EndpointPool& first, const PickContext& context);
  void wait_for_endpoints(PoolWaiter& waiter) { waiting_.push_back(waiter); }

 private:
  void on_view(std::shared_ptr<const ServiceView> view) override;
  void on_connection_granted() override { pool_.on_connection_granted(); }
  void on_connection_wanted() override { pool_.on_connection_wanted(); }
  void use_view();

  WorkerContext& worker_;
  Service& service_;
  UpstreamMetrics metrics_;
  ServicePool pool_;
  Balancer balancer_;
  bool looks_around_ = false;          // the balancer wants to know its surroundings
  IntrusiveList<PoolWaiter> waiting_;  // for the first answer of discovery
  std::shared_ptr<const ServiceView> view_;
};

}  // namespace weir
