// Metastable failure in virtual time: an upstream loses 80 % of its capacity for ten seconds and gets it back; does the service come back?
// The policies are those that perf/metastable runs against real peers; the clients send at a fixed rate whatever becomes of their requests.
// Nothing here is tuned to the machine: what is asserted holds for every seed that is tried, exactly and in any build.
#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <numeric>
#include <sstream>

#include "tests/support/world.h"

using namespace weir;
using namespace weir::test;

namespace {

constexpr std::uint16_t kUpstreamPort = 9001;
constexpr int kBefore = 8;  // seconds
constexpr int kLoss = 10;
constexpr int kAfter = 30;
constexpr int kBack = kBefore + kLoss;
constexpr int kTotal = kBack + kAfter;
constexpr double kRate = 160;  // requests a second: 80 % of what the upstream can do
constexpr Duration kDeadline = 1s;
constexpr Duration kTry = 250ms;
constexpr int kTries = 4;

Address upstream_address() { return Address::parse("127.0.0.1:" + std::to_string(kUpstreamPort)).value(); }

std::string configuration(const std::string& name) {
  std::ifstream file(std::string(WEIR_SOURCE_DIR) + "/perf/peers/" + name);
  REQUIRE(file.good());
  std::ostringstream text;
  text << file.rdbuf();
  std::string yaml = text.str();
  for (const auto& [token, value] : {std::pair{"@PORT@", "15001"}, {"@ADMIN@", "9901"}, {"@UPSTREAM@", "9001"}}) {
    for (std::size_t at = yaml.find(token); at != std::string::npos; at = yaml.find(token))
      yaml.replace(at, std::string(token).size(), value);
  }
  return yaml;
}

// Four slots, first come, first served. When a request comes its end is known: that the caller may have left by then changes nothing.
class Slots {
 public:
  Slots(World& world, MonotonicTime began) : loss_from_(began + kBefore * 1s), loss_until_(began + kBack * 1s) {
    world.upstream("127.0.0.1:" + std::to_string(kUpstreamPort)).script = [this, &world](UpstreamPeer& peer, const Message&, int) {
      const MonotonicTime now = world.sim.now();
      MonotonicTime& slot = *std::min_element(free_at_.begin(), free_at_.end());
      const MonotonicTime start = std::max(now, slot);
      slot = start + (start >= loss_from_ && start < loss_until_ ? 100ms : 20ms);
      peer.answer(200, "done", "", slot - now);
    };
  }

 private:
  std::array<MonotonicTime, 4> free_at_{};
  MonotonicTime loss_from_;
  MonotonicTime loss_until_;
};

class Run {
 public:
  enum class Way { proxied, direct, direct_with_retries };

  Run(const std::string& name, Way way, std::uint64_t seed)
      : world_(configuration(name), {.workers = 1, .seed = seed}), way_(way), began_(world_.sim.now() + 1s), slots_(world_, began_) {
    Random random(seed);
    for (double at = 0; (at += -std::log(1 - random.unit()) / kRate) < kTotal;) {
      const MonotonicTime due = began_ + Duration(static_cast<std::int64_t>(at * 1e9));
      ++offered_[static_cast<std::size_t>(at)];
      on(due, [this, due] { send(due, 1); });
    }
    world_.advance(1s + kTotal * 1s + kDeadline + 1s);
    std::ostringstream shares;
    for (int second = 0; second < kTotal; ++second) shares << static_cast<int>(100 * share(second, second + 1)) << ' ';
    text_ = shares.str();
  }

  // Of what was offered in these seconds, the share that was answered in time.
  double share(int from, int until) const {
    const auto sum = [&](const std::array<int, kTotal>& counts) {
      return std::accumulate(counts.begin() + from, counts.begin() + until, 0);
    };
    return static_cast<double>(sum(good_)) / std::max(1, sum(offered_));
  }
  double before() const { return share(0, kBefore); }
  double during() const { return share(kBefore, kBack); }
  double worst_second_from_the_sixth() const {
    double worst = 1;
    for (int second = kBack + 5; second < kTotal; ++second) worst = std::min(worst, share(second, second + 1));
    return worst;
  }
  double tries() {
    const auto seen = world_.upstream("127.0.0.1:" + std::to_string(kUpstreamPort)).seen.size();
    return static_cast<double>(seen) / std::accumulate(offered_.begin(), offered_.end(), 0);
  }
  const std::string& text() const { return text_; }  // per cent by the second

 private:
  void on(MonotonicTime time, std::function<void()> task) { world_.sim.schedule_at(world_.sim.loop(0), time, std::move(task)); }

  void send(MonotonicTime due, int number) {
    SimClient& client = way_ == Way::proxied ? world_.client("outbound") : world_.client_to(upstream_address());
    client.get("/");
    const MonotonicTime deadline = due + kDeadline;
    const MonotonicTime now = world_.sim.now();
    const bool again = way_ == Way::direct_with_retries && number < kTries && now + kTry < deadline;
    on(again ? now + kTry : deadline, [this, &client, due, number, again] {
      const bool good = client.answered() && client.answers()[0].status() == 200;
      client.close();
      if (good) ++good_[static_cast<std::size_t>((due - began_) / 1s)];
      if (!good && again) send(due, number + 1);
    });
  }

  World world_;
  Way way_;
  MonotonicTime began_;
  Slots slots_;
  std::array<int, kTotal> offered_{};
  std::array<int, kTotal> good_{};
  std::string text_;
};

constexpr std::uint64_t kSeeds[] = {1, 2, 3};

void check_bars(const std::string& name) {
  for (const std::uint64_t seed : kSeeds) {
    Run run(name, Run::Way::proxied, seed);
    INFO(name << ", seed " << seed << ": " << run.text());
    CHECK(run.before() >= 0.99);
    CHECK(run.during() >= 0.20);
    CHECK(run.worst_second_from_the_sixth() >= 0.95);
    CHECK(run.tries() <= 1.05);
  }
}

}  // namespace

TEST_CASE("clients that retry keep the service down after its trouble is over, so this scenario is metastable") {
  Run run("metastable-weir-default.yaml", Run::Way::direct_with_retries, 1);
  INFO(run.text());
  CHECK(run.before() >= 0.99);
  CHECK(run.during() < 0.05);
  CHECK(run.share(kBack + 5, kTotal) < 0.01);
  CHECK(run.tries() > 2.5);
}

TEST_CASE("with a limit for a known capacity a service gives what it can in its trouble, and is well again at once") {
  check_bars("metastable-weir.yaml");
}

TEST_CASE("with a limit that is learned a service gives nearly what it can in its trouble, and is well again within five seconds") {
  check_bars("metastable-weir-adaptive.yaml");
}

TEST_CASE("without any policy named weir makes nothing worse than it is without a proxy") {
  for (const std::uint64_t seed : kSeeds) {
    Run direct("metastable-weir-default.yaml", Run::Way::direct, seed);
    Run run("metastable-weir-default.yaml", Run::Way::proxied, seed);
    INFO("seed " << seed << "\ndirect: " << direct.text() << "\nweir:   " << run.text());
    CHECK(run.before() >= direct.before());
    CHECK(run.during() >= direct.during());
    CHECK(run.share(kBack, kTotal) >= direct.share(kBack, kTotal));
    CHECK(run.tries() <= direct.tries() + 0.001);
  }
}
