#include "proxy/upstream/health_checker.h"

#include <algorithm>

namespace weir {

struct HealthChecker::Target final : HealthProbe::Owner {
  Target(HealthChecker& checker_, std::shared_ptr<Endpoint> endpoint_) : checker(checker_), endpoint(std::move(endpoint_)) {}
  void on_check(CheckResult result, int status) override { checker.checked(*this, result, status); }

  HealthChecker& checker;
  std::shared_ptr<Endpoint> endpoint;
  std::unique_ptr<HealthProbe> probe;  // null: none under way, and it is in due_
  MonotonicTime began{};               // the last one
  bool asked = false;                  // ever
  Due::key_type key{};
};

HealthChecker::HealthChecker(WorkerContext& main, Connector& connector, Service& service, HealthCheckListener& listener)
    : main_(main),
      connector_(connector),
      service_(service),
      listener_(listener),
      timer_(main.loop, Callback::to<&HealthChecker::run>(this)),
      sweep_(main.loop, Callback::to<&HealthChecker::drop_finished>(this)) {}

HealthChecker::~HealthChecker() = default;

void HealthChecker::configure(const HealthCheckConfig& config, Protocol protocol) {
  config_ = config;
  protocol_ = protocol;
  reschedule();
}

void HealthChecker::set_endpoints(const EndpointSet& set) {
  std::map<std::uint32_t, std::unique_ptr<Target>> old = std::move(targets_);
  targets_.clear();
  for (const EndpointSlot& slot : set.slots) {
    auto& target = targets_[slot.endpoint->id];
    const auto known = old.find(slot.endpoint->id);
    if (known != old.end()) {
      target = std::move(known->second);
      continue;
    }
    target = std::make_unique<Target>(*this, slot.endpoint);
    plan(*target, now());
  }
  for (const auto& [id, gone] : old) {
    if (gone == nullptr) continue;
    unplan(*gone);
    if (gone->probe == nullptr) continue;
    --in_flight_;
    finished_.push_back(std::move(gone->probe));
  }
  finished_.clear();  // before their targets; none of them is on the stack: endpoints come and go in turns of discovery
  run();
}

void HealthChecker::reschedule() {
  for (const auto& [id, target] : targets_) {
    if (target->probe != nullptr || !target->asked) continue;
    plan(*target, service_.next_check(*target->endpoint, target->began, now()));
  }
  run();
}

void HealthChecker::plan(Target& target, MonotonicTime due) {
  unplan(target);
  target.key = {due, ++planned_};
  due_.emplace(target.key, &target);
}

void HealthChecker::unplan(Target& target) { due_.erase(target.key); }

void HealthChecker::run() {
  while (!due_.empty() && in_flight_ < kMaxInFlight && due_.begin()->first.first <= now()) begin(*due_.begin()->second);
  // With too many under way the next one begins when one of them ends.
  timer_.arm_at(due_.empty() || in_flight_ >= kMaxInFlight ? kNever : due_.begin()->first.first);
}

void HealthChecker::begin(Target& target) {
  unplan(target);
  target.began = now();
  target.asked = true;
  ++in_flight_;
  target.probe = std::make_unique<HealthProbe>(main_, connector_, target.endpoint->address, config_, protocol_, target);
}

void HealthChecker::checked(Target& target, CheckResult result, int status) {
  finished_.push_back(std::move(target.probe));
  sweep_.schedule();
  --in_flight_;
  const bool asked = result != CheckResult::none;
  const bool changed = asked && service_.record_check(*target.endpoint, result, status, target.began, now());
  plan(target, service_.next_check(*target.endpoint, target.began, now()));
  run();
  if (asked) listener_.on_checked(result, changed);
}

}  // namespace weir
