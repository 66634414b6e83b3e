#include "proxy/upstream/discovery_name.h"

#include <algorithm>

#include "proxy/base/text.h"
#include "proxy/upstream/discovery.h"

namespace weir {

DiscoveryName::DiscoveryName(Discovery& owner, std::string host, std::uint16_t port)
    : DiscoverySource(owner, concat("dns:", host)),
      host_(std::move(host)),
      port_(port),
      again_(owner.loop(), Callback::to<&DiscoveryName::ask>(this)) {}

void DiscoveryName::begin() {
  if (asking_ || again_.armed()) return;
  if (!answered_) return ask();
  again_.arm(Duration(0));  // it had been stopped
}

void DiscoveryName::stop() {
  again_.disarm();
  lookup_.reset();
  asking_ = false;
}

void DiscoveryName::use_families() {
  const AddressFamilies wanted = owner_.dns().addresses;
  if (wanted == AddressFamilies::ipv6) halves_[0] = {};
  if (wanted == AddressFamilies::ipv4) halves_[1] = {};
  // What was known is of no use: until the answer comes, what stands goes on serving, as before a first answer requests wait.
  if (halves_[0].addresses.empty() && halves_[1].addresses.empty()) answered_ = false;
  ask();
}

void DiscoveryName::collect(std::vector<Address>& out) const {
  for (const Half& one : halves_) out.insert(out.end(), one.addresses.begin(), one.addresses.end());
}

void DiscoveryName::ask() {
  const AddressFamilies wanted = owner_.dns().addresses;
  halves_[0].told = wanted == AddressFamilies::ipv6;
  halves_[1].told = wanted == AddressFamilies::ipv4;
  again_.disarm();
  asking_ = true;
  lookup_ = owner_.resolver().lookup(host_, port_, wanted, *this);
}

void DiscoveryName::on_name(const NameAnswer& answer) {
  Half& one = half(answer.family);
  if (one.told) return;
  one.told = true;
  one.outcome = answer.outcome;
  one.ttl = answer.ttl;
  one.error = answer.error;
  if (answer.outcome == LookupOutcome::found && answer.addresses.empty()) one.outcome = LookupOutcome::absent;
  if (one.outcome == LookupOutcome::found) {
    // Servers rotate their answers: sorted, order is no change, and what is cut off is always the same.
    one.addresses = answer.addresses;
    std::sort(one.addresses.begin(), one.addresses.end(), [](const Address& a, const Address& b) { return a.text() < b.text(); });
    one.addresses.erase(std::unique(one.addresses.begin(), one.addresses.end()), one.addresses.end());
    one.cut = one.addresses.size() > kMostEndpoints;
    if (one.cut) one.addresses.resize(kMostEndpoints);
    last_good_ = owner_.loop().now();
    answered_ = true;  // the other family comes when it comes
  }
  if (halves_[0].told && halves_[1].told) settle();
  owner_.changed();
}

// Every family has been heard of.
void DiscoveryName::settle() {
  const DnsConfig& dns = owner_.dns();
  asking_ = false;
  answered_ = true;
  const Half* failed = nullptr;
  const Half* absent = nullptr;
  Duration ttl = Duration::max();
  for (std::size_t i = 0; i < halves_.size(); ++i) {
    if (dns.addresses == (i == 0 ? AddressFamilies::ipv6 : AddressFamilies::ipv4)) continue;
    const Half& one = halves_[i];
    if (one.outcome == LookupOutcome::failed && (failed == nullptr || !one.addresses.empty())) failed = &one;
    if (one.outcome == LookupOutcome::absent) absent = &one;
    if (one.outcome == LookupOutcome::found) ttl = std::min(ttl, one.ttl);
  }
  const bool any = ttl != Duration::max();
  // Many servers refuse to speak of AAAA (RFC 4074): if it fails and never gave an address, it is missed by nobody while A is found.
  if (any && failed == &halves_[1] && failed->addresses.empty()) failed = nullptr;
  if (any) {
    for (Half& one : halves_) {
      if (one.outcome != LookupOutcome::absent) continue;
      one.addresses.clear();
      one.cut = false;
    }
  }
  too_many(halves_[0].cut || halves_[1].cut, "addresses");
  const Duration keep = std::clamp(ttl, dns.min_ttl, std::max(dns.min_ttl, dns.max_ttl));
  if (any && failed == nullptr) {
    good();
    back_off_.reset();
    return again_.arm(keep);
  }
  const Half& why = failed != nullptr ? *failed : *absent;
  bad(why.error.empty() ? "no addresses" : why.error);
  again_.arm(any ? std::min(keep, back_off_.next(owner_)) : back_off_.next(owner_));
}

}  // namespace weir
