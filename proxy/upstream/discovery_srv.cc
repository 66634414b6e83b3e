#include "proxy/upstream/discovery_srv.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "proxy/base/text.h"
#include "proxy/upstream/discovery.h"

namespace weir {
namespace {

constexpr double kMostWeight = 1000;

auto order_of(const SrvTarget& target) { return std::tie(target.priority, target.host, target.port, target.weight); }

}  // namespace

std::vector<std::uint32_t> spread_srv_weights(const std::vector<std::pair<std::uint16_t, std::size_t>>& weight_and_addresses) {
  const bool all_zero =
      std::all_of(weight_and_addresses.begin(), weight_and_addresses.end(), [](const auto& one) { return one.first == 0; });
  double largest = 0;
  bool whole = true;
  std::vector<double> shares;
  for (const auto& [weight, addresses] : weight_and_addresses) {
    const double share = (all_zero ? 1.0 : weight) / static_cast<double>(std::max<std::size_t>(addresses, 1));
    shares.push_back(share);
    largest = std::max(largest, share);
    whole = whole && share >= 1 && share == std::floor(share);
  }
  const double scale = whole && largest <= kMostWeight ? 1 : kMostWeight / largest;
  std::vector<std::uint32_t> weights;
  for (const double share : shares) weights.push_back(static_cast<std::uint32_t>(std::max(1.0, std::round(share * scale))));
  return weights;
}

DiscoverySrv::DiscoverySrv(Discovery& owner, std::string name)
    : DiscoverySource(owner, concat("srv:", name)), name_(std::move(name)), again_(owner.loop(), Callback::to<&DiscoverySrv::ask>(this)) {}

void DiscoverySrv::begin() {
  if (asking_ || again_.armed()) return;
  if (!answered_) return ask();
  again_.arm(Duration(0));  // it had been stopped
}

void DiscoverySrv::stop() {
  again_.disarm();
  lookup_.reset();
  asking_ = false;
}

void DiscoverySrv::ask() {
  asking_ = true;
  lookup_ = owner_.resolver().lookup_srv(name_, *this);
}

void DiscoverySrv::on_srv(const SrvAnswer& answer) {
  const DnsConfig& dns = owner_.dns();
  asking_ = false;
  answered_ = true;
  const bool found = answer.outcome == LookupOutcome::found;
  if (found && take(answer.targets)) {
    last_good_ = owner_.loop().now();
    back_off_.reset();
    good();
    again_.arm(std::clamp(answer.ttl, dns.min_ttl, std::max(dns.min_ttl, dns.max_ttl)));
    return owner_.relink();
  }
  bad(found ? "the records name no target" : answer.error.empty() ? "no records" : answer.error);
  again_.arm(back_off_.next(owner_));
  owner_.changed();  // it has answered
}

// False when there is nothing to take.
bool DiscoverySrv::take(std::vector<SrvTarget> records) {
  std::erase_if(records, [](const SrvTarget& target) { return target.host.empty() || target.port == 0; });
  if (records.empty()) return false;
  std::sort(records.begin(), records.end(), [](const SrvTarget& a, const SrvTarget& b) { return order_of(a) < order_of(b); });
  const auto same = [](const SrvTarget& a, const SrvTarget& b) { return a.priority == b.priority && a.host == b.host && a.port == b.port; };
  records.erase(std::unique(records.begin(), records.end(), same), records.end());
  targets_cut_ = records.size() > kMostSrvTargets;
  if (targets_cut_) records.resize(kMostSrvTargets);
  targets_.clear();
  for (SrvTarget& record : records) targets_.push_back({std::move(record), nullptr});
  return true;
}

bool DiscoverySrv::answered() const {
  if (!answered_) return false;
  if (!kept_.empty()) return true;
  return std::all_of(targets_.begin(), targets_.end(), [](const Target& target) { return target.name->answered(); });
}

void DiscoverySrv::collect(std::vector<Service::FoundEndpoint>& out) {
  for (std::size_t first = 0; first < targets_.size();) {
    std::size_t last = first;
    bool pending = false;
    while (last < targets_.size() && targets_[last].record.priority == targets_[first].record.priority) {
      pending = pending || !targets_[last].name->answered();
      ++last;
    }
    std::vector<Service::FoundEndpoint> found = spread(first, last);
    first = last;
    if (found.empty() && !pending) continue;  // the next priority
    for (std::size_t i = 0; pending && i < kept_.size(); ++i) {
      const auto same = [&](const Service::FoundEndpoint& one) { return one.address == kept_[i].address; };
      if (std::none_of(found.begin(), found.end(), same)) found.push_back(kept_[i]);
    }
    too_many(targets_cut_ || found.size() > kMostEndpoints, "targets or addresses");
    if (found.size() > kMostEndpoints) found.resize(kMostEndpoints);
    kept_ = std::move(found);
    break;
  }
  out.insert(out.end(), kept_.begin(), kept_.end());
}

// The endpoints of the targets from `first` to before `last`, which are of one priority.
std::vector<Service::FoundEndpoint> DiscoverySrv::spread(std::size_t first, std::size_t last) {
  std::vector<std::vector<Address>> addresses;
  std::vector<std::pair<std::uint16_t, std::size_t>> shares;
  for (std::size_t i = first; i < last; ++i) {
    std::vector<Address> of_target;
    targets_[i].name->collect(of_target);
    if (of_target.empty()) continue;
    shares.emplace_back(targets_[i].record.weight, of_target.size());
    addresses.push_back(std::move(of_target));
  }
  const std::vector<std::uint32_t> weights = spread_srv_weights(shares);
  std::vector<Service::FoundEndpoint> found;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    for (const Address& address : addresses[i]) found.push_back({address, weights[i]});
  }
  return found;
}

}  // namespace weir
