#include "proxy/upstream/discovery.h"

#include <algorithm>

#include "proxy/base/text.h"
#include "proxy/upstream/discovery_file.h"
#include "proxy/upstream/discovery_name.h"
#include "proxy/upstream/discovery_source.h"
#include "proxy/upstream/discovery_srv.h"

namespace weir {

// ---- what sources share ----

void DiscoverySource::good() { set(answer_error_, {}); }

void DiscoverySource::bad(const std::string& error) {
  owner_.failed();
  set(answer_error_, concat(text_, ": ", error));
}

void DiscoverySource::too_many(bool many, std::string_view what) {
  if (many && size_error_.empty()) owner_.failed();
  set(size_error_, many ? concat(text_, ": too many ", what, ": ", kMostEndpoints, " endpoints and ", kMostSrvTargets,
                                 " SRV targets are the most, the rest is left out")
                        : std::string());
}

void DiscoverySource::set(std::string& slot, std::string text) {
  if (slot == text) return;
  slot = std::move(text);
  owner_.log(*this, error());
}

Duration DiscoveryBackOff::next(Discovery& owner) {
  const DnsConfig& dns = owner.dns();
  const Duration max = std::max(dns.max_ttl, dns.min_ttl);
  Duration wait = std::min<Duration>(std::max<Duration>(dns.min_ttl, 1s), max);
  for (std::uint32_t i = 0; i < failures_ && wait < max; ++i) wait = std::min(wait * 2, max);
  ++failures_;
  return wait - Duration(static_cast<Duration::rep>(owner.random().below(static_cast<std::uint64_t>(wait.count()) / 4 + 1)));
}

// ---- the whole ----

Discovery::Discovery(EventLoop& loop, NameResolver& resolver, Random& random, const DiscoveryTools& tools, std::string service,
                     DiscoveryListener& listener)
    : loop_(loop), resolver_(resolver), random_(random), tools_(tools), service_(std::move(service)), listener_(listener) {}

Discovery::~Discovery() = default;

void Discovery::configure(const std::vector<EndpointConfig>& endpoints, const DnsConfig& dns) {
  const bool other_families = dns.addresses != dns_.addresses;
  dns_ = dns;
  configured_ = endpoints;
  for (const auto& file : files_) {
    if (file->begun()) (void)file->read();
  }
  if (other_families) {
    for (const auto& one : names_) one->use_families();
  }
  relink();
}

void Discovery::stop() {
  for (const auto& one : files_) one->stop();
  for (const auto& one : srvs_) one->stop();
  for (const auto& one : names_) one->stop();
}

DiscoveryName* Discovery::name(const std::string& host, std::uint16_t port) {
  auto found = std::find_if(names_.begin(), names_.end(), [&](const auto& one) { return one->is(host, port); });
  if (found == names_.end()) found = names_.insert(names_.end(), std::make_unique<DiscoveryName>(*this, host, port));
  (*found)->used = true;
  return found->get();
}

void Discovery::link(const EndpointConfig& config) {
  using Kind = EndpointConfig::Kind;
  const std::uint32_t weight = config.weight;
  if (config.kind == Kind::address) {
    entries_.push_back({{config.address, weight}, nullptr, nullptr});
  } else if (config.kind == Kind::dns) {
    entries_.push_back({{{}, weight}, name(config.dns_host, config.dns_port), nullptr});
  } else if (config.kind == Kind::srv) {
    auto found = std::find_if(srvs_.begin(), srvs_.end(), [&](const auto& one) { return one->is(config.dns_host); });
    if (found == srvs_.end()) found = srvs_.insert(srvs_.end(), std::make_unique<DiscoverySrv>(*this, config.dns_host));
    DiscoverySrv& srv = **found;
    srv.used = true;
    for (DiscoverySrv::Target& target : srv.targets()) target.name = name(target.record.host, target.record.port);
    entries_.push_back({{}, nullptr, &srv});
  } else {
    auto found = std::find_if(files_.begin(), files_.end(), [&](const auto& one) { return one->is(config.path); });
    if (found == files_.end()) found = files_.insert(files_.end(), std::make_unique<DiscoveryFile>(*this, config.path));
    DiscoveryFile& file = **found;
    file.used = true;
    if (!file.begun()) file.begin();
    for (const EndpointConfig& entry : file.entries()) {
      if (entry.kind != Kind::file) link(entry);
    }
  }
}

void Discovery::relink() {
  for_each_source([](DiscoverySource& source) { source.used = false; });
  entries_.clear();
  for (const EndpointConfig& config : configured_) link(config);
  const auto unused = [](const auto& source) { return !source->used; };
  std::erase_if(files_, unused);
  std::erase_if(srvs_, unused);
  std::erase_if(names_, unused);
  for (const auto& one : srvs_) one->begin();
  for (const auto& one : names_) one->begin();
  changed();
}

template <class F>
void Discovery::for_each_source(F apply) const {
  for (const auto& one : files_) apply(*one);
  for (const auto& one : srvs_) apply(*one);
  for (const auto& one : names_) apply(*one);
}

void Discovery::changed() {
  std::vector<Service::FoundEndpoint> found;
  bool all_answered = true;
  std::vector<Address> addresses;
  for (const Entry& entry : entries_) {
    if (entry.srv != nullptr) {
      entry.srv->collect(found);
      all_answered = all_answered && entry.srv->answered();
    } else if (entry.name != nullptr) {
      addresses.clear();
      entry.name->collect(addresses);
      for (const Address& address : addresses) found.push_back({address, entry.fixed.weight});
      all_answered = all_answered && entry.name->answered();
    } else {
      found.push_back(entry.fixed);
    }
  }
  // With nothing to offer yet, requests wait for the first answer rather than fail.
  if (found.empty() && !all_answered) return;
  const auto equal = [](const Service::FoundEndpoint& a, const Service::FoundEndpoint& b) {
    return a.address == b.address && a.weight == b.weight;
  };
  if (told_any_ && std::equal(found.begin(), found.end(), told_.begin(), told_.end(), equal)) return;
  told_ = std::move(found);
  told_any_ = true;
  ++updates_;
  listener_.on_endpoints(told_);
}

std::string Discovery::error() const {
  std::string first;
  std::size_t others = 0;
  for_each_source([&](const DiscoverySource& source) {
    if (source.error().empty()) return;
    if (first.empty()) {
      first = source.error();
    } else {
      ++others;
    }
  });
  return others == 0 ? first : concat(first, " (and ", others, " more)");
}

std::optional<DiscoveryStatus> Discovery::status() const {
  DiscoveryStatus status{updates_, errors_, std::nullopt};
  bool any = false;
  for_each_source([&](const DiscoverySource& source) {
    any = true;
    const std::optional<MonotonicTime> good = source.last_good();
    if (good) status.age = std::max(status.age.value_or(Duration(0)), loop_.now() - *good);
  });
  if (!any) return std::nullopt;
  return status;
}

void Discovery::log(const DiscoverySource& source, const std::string& error) {
  if (tools_.log == nullptr) return;
  if (error.empty()) {
    tools_.log->info("discovery works again", {{"service", service_}, {"source", source.text()}});
  } else {
    tools_.log->warning("discovery: an answer was not used, or not wholly", {{"service", service_}, {"error", error}});
  }
}

}  // namespace weir
