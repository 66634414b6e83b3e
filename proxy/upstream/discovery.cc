#include "proxy/upstream/discovery.h"

#include <algorithm>

namespace weir {

// One host:port that is looked up again and again.
class Discovery::Name final : private NameHandler {
 public:
  Name(Discovery& owner, std::string host, std::uint16_t port)
      : owner_(owner), host_(std::move(host)), port_(port), again_(owner.loop_, Callback::to<&Name::ask>(this)) {}

  bool is(const EndpointConfig& config) const { return host_ == config.dns_host && port_ == config.dns_port; }
  bool answered() const { return answered_; }  // well or badly
  const std::vector<Address>& addresses() const { return addresses_; }
  const std::string& error() const { return error_; }
  void begin() {
    if (!answered_ && lookup_ == nullptr) ask();
    if (answered_ && !again_.armed()) again_.arm(Duration(0));  // it had been stopped
  }
  void stop() {
    again_.disarm();
    lookup_.reset();
  }

 private:
  void ask() { lookup_ = owner_.resolver_.lookup(host_, port_, *this); }

  void on_name(const NameAnswer& answer) override {
    const DnsConfig& dns = owner_.dns_;
    const bool first = !answered_;
    answered_ = true;
    if (!answer.ok || answer.addresses.empty()) {
      error_ = "dns:" + host_ + ": " + (answer.error.empty() ? std::string("no addresses") : answer.error);
      again_.arm(back_off());
      owner_.update_error();
      if (first) owner_.name_changed();
      return;
    }
    failures_ = 0;
    error_.clear();
    again_.arm(std::clamp(answer.ttl, dns.min_ttl, std::max(dns.min_ttl, dns.max_ttl)));
    std::vector<Address> sorted = answer.addresses;  // servers rotate their answers: order is no change
    std::sort(sorted.begin(), sorted.end(), [](const Address& a, const Address& b) { return a.text() < b.text(); });
    owner_.update_error();
    if (!first && sorted == addresses_) return;
    addresses_ = std::move(sorted);
    owner_.name_changed();
  }

  // 1 s, 2 s, 4 s ... up to the longest time an answer is kept, each less up to a quarter.
  Duration back_off() {
    const Duration max = std::max(owner_.dns_.max_ttl, owner_.dns_.min_ttl);
    Duration wait = std::min<Duration>(std::max<Duration>(owner_.dns_.min_ttl, 1s), max);
    for (std::uint32_t i = 0; i < failures_ && wait < max; ++i) wait = std::min(wait * 2, max);
    ++failures_;
    return wait - Duration(static_cast<Duration::rep>(owner_.random_.below(static_cast<std::uint64_t>(wait.count()) / 4 + 1)));
  }

  Discovery& owner_;
  std::string host_;
  std::uint16_t port_;
  Timer again_;
  std::unique_ptr<NameLookup> lookup_;  // kept after its answer: nothing is freed inside its callback
  std::vector<Address> addresses_;      // the last good answer
  std::string error_;
  std::uint32_t failures_ = 0;
  bool answered_ = false;
};

Discovery::Discovery(EventLoop& loop, NameResolver& resolver, Random& random, DiscoveryListener& listener)
    : loop_(loop), resolver_(resolver), random_(random), listener_(listener) {}

Discovery::~Discovery() = default;

void Discovery::configure(const std::vector<EndpointConfig>& endpoints, const DnsConfig& dns) {
  dns_ = dns;
  std::vector<std::unique_ptr<Name>> old = std::move(names_);
  names_.clear();
  sources_.clear();
  for (const EndpointConfig& config : endpoints) {
    Source source{config, nullptr};
    if (config.kind == EndpointConfig::Kind::dns) {
      const auto same = [&](const std::unique_ptr<Name>& name) { return name != nullptr && name->is(config); };
      auto found = std::find_if(names_.begin(), names_.end(), same);
      if (found == names_.end()) {
        auto kept = std::find_if(old.begin(), old.end(), same);
        names_.push_back(kept != old.end() ? std::move(*kept)
                                           : std::make_unique<Name>(*this, config.dns_host, config.dns_port));
        found = names_.end() - 1;
      }
      source.name = found->get();
    }
    sources_.push_back(std::move(source));
  }
  for (const auto& name : names_) name->begin();
  update_error();
  name_changed();
}

void Discovery::stop() {
  for (const auto& name : names_) name->stop();
}

void Discovery::update_error() {
  error_.clear();
  for (const auto& name : names_) {
    if (error_.empty()) error_ = name->error();
  }
}

void Discovery::name_changed() {
  std::vector<Service::FoundEndpoint> found;
  bool all_answered = true;
  for (const Source& source : sources_) {
    if (source.name == nullptr) {
      found.push_back({source.config.address, source.config.weight});
      continue;
    }
    all_answered = all_answered && source.name->answered();
    for (const Address& address : source.name->addresses()) found.push_back({address, source.config.weight});
  }
  // With nothing to offer yet, requests wait for the first answer rather than fail.
  if (found.empty() && !all_answered) return;
  const auto equal = [](const Service::FoundEndpoint& a, const Service::FoundEndpoint& b) {
    return a.address == b.address && a.weight == b.weight;
  };
  if (told_any_ && std::equal(found.begin(), found.end(), told_.begin(), told_.end(), equal)) return;
  told_ = std::move(found);
  told_any_ = true;
  listener_.on_endpoints(told_);
}

}  // namespace weir
