// weir demo: a flaky service, an application's load and weir itself in one process, with a live table of what happens.
// weir is the real one: the same Server on the same platform as `weir run`, with the policy below; only the service and the load are
// made up. Scenes change the service's manners; the table shows what the application sees and what weir does about it.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <string>

#include "config/schema/load.h"
#include "filters/catalog.h"
#include "proxy/base/text.h"
#include "proxy/cli/command_line.h"
#include "proxy/cli/demo_load.h"
#include "proxy/cli/demo_service.h"
#include "proxy/cli/demo_table.h"
#include "proxy/server/real_platform.h"
#include "proxy/server/server.h"

namespace weir::cli {
namespace {

using namespace weir::demo;

constexpr std::uint32_t kRequestsPerSecond = 200;
constexpr Duration kScene = 8s;  // without --for
constexpr Duration kRow = 500ms;

struct Scene {
  const char* title;
  const char* what_to_see;
  std::uint32_t work_ms, slots, error_percent;
};

constexpr std::array<Scene, 5> kScenes = {{
    {"All is well", "every request is answered, by one try each", 5, 16, 0},
    {"One answer in five is an error", "retries hide it, within their budget", 5, 16, 20},
    {"The service fails", "the breaker opens; the application is told at once, and the service is left alone", 5, 16, 100},
    {"The service is back", "probes find it well; the breaker closes by itself", 5, 16, 0},
    {"The service is too slow for its load", "a limit and a short queue shed what cannot be served; what is served is served in time", 60,
     6, 0},
}};

constexpr const char* kPolicy = R"(
policies:
  demo:
    filters:
      - timeout: { total: 2s }
      - retry: { max_attempts: 3, causes: [connect_failure, reset, gateway_error], backoff: { base: 10ms, max: 50ms } }
      - circuit_breaker: { causes: [connect_failure, reset, timeout, 5xx], window: 2s, min_calls: 40, failure_ratio: 60%, open_for: { base: 500ms, max: 2s }, half_open: { probes: 5, successes: 4 } }
      - concurrency_limit: { limit: 8, queue: { size: 16, timeout: 100ms } }
      - timeout: { name: per-try, response_headers: 1s }
)";

// A well-known port where it is free, so that the address can be learned by heart; else any.
Result<Address> pick_address(const char* wanted) {
  for (const std::string& text : {std::string(wanted), std::string("127.0.0.1:0")}) {
    const Result<Address> at = Address::parse(text);
    if (!at) return at.error();
    Result<std::unique_ptr<ListenSocket>> socket = ListenSocket::open(*at);
    if (socket) return (*socket)->address();
  }
  return Error{"no port is free on 127.0.0.1"};
}

std::string yaml_of(const Address& proxy, const Address& admin, const Address& service) {
  return concat("version: 1\nworkers: 1\nlog: { level: error }\nadmin: { read_only_listen: ", admin.text(), " }\n",
                "listeners: [ { name: demo, direction: outbound, listen: ", proxy.text(),
                ", routes: [ { service: flaky, policy: demo } ] } ]\n", "services: { flaky: { endpoints: [", service.text(),
                "], retry_budget: { ratio: 30%, min_rate: 5/s, window: 2s },", " outlier_detection: { mode: disabled } } }", kPolicy);
}

// Runs on the main loop: moves the scenes on and prints a row now and then.
class Director {
 public:
  Director(EventLoop& loop, Manners& manners, LoadCounts& counts, MetricsRegistry& metrics, Server& server,
           std::optional<Duration> duration)
      : loop_(loop),
        manners_(manners),
        counts_(counts),
        metrics_(metrics),
        server_(server),
        duration_(duration),
        scene_length_(duration ? *duration / static_cast<int>(kScenes.size()) : kScene),
        table_(stdout, isatty(STDOUT_FILENO) == 1),
        timer_(loop, Callback::to<&Director::on_timer>(this)) {}

  void start(const Address& proxy, const Address& admin) {
    began_ = row_at_ = loop_.now();
    table_.header(concat("http://", admin.text(), "/metrics"), concat("http://", proxy.text(), "/"));
    enter(0);
    timer_.arm(kRow);
  }

 private:
  void enter(std::size_t scene) {
    scene_ = scene;
    const Scene& next = kScenes[scene % kScenes.size()];
    manners_.work_ms = next.work_ms;
    manners_.slots = next.slots;
    manners_.error_percent = next.error_percent;
    table_.scene(loop_.now() - began_, next.title, next.what_to_see);
  }

  void on_timer() {
    const MonotonicTime now = loop_.now();
    table_.row(now - began_, now - row_at_, figures());
    row_at_ = now;
    if (!table_.read()) return server_.stop();                           // `weir demo | head`
    if (duration_ && now - began_ >= *duration_) return server_.stop();  // not a drain: the load would keep it from ever being quiet
    const auto scene = static_cast<std::size_t>((now - began_) / scene_length_);
    if (scene != scene_ && (!duration_ || scene < kScenes.size())) enter(scene);
    timer_.arm(kRow);
  }

  Figures figures() {
    const auto scrape = metrics_.collect();
    Figures f;
    f.sent = static_cast<double>(counts_.sent.load());
    f.ok = static_cast<double>(counts_.ok.load());
    f.rejected = static_cast<double>(counts_.rejected.load());
    f.failed = static_cast<double>(counts_.failed.load() + counts_.missed.load());
    f.attempts = metric_sum(scrape, "weir_attempts_total");
    f.retried = metric_sum(scrape, "weir_filter_decisions_total", {{"decision", "retried"}});
    f.breaker = metric_sum(scrape, "weir_breaker_state");
    f.limit = metric_sum(scrape, "weir_concurrency_limit");
    f.in_flight = metric_sum(scrape, "weir_limit_in_flight");
    f.queue = metric_sum(scrape, "weir_queue_length");
    take_latency(counts_, f.p50_ms, f.p99_ms);
    return f;
  }

  EventLoop& loop_;
  Manners& manners_;
  LoadCounts& counts_;
  MetricsRegistry& metrics_;
  Server& server_;
  std::optional<Duration> duration_;
  Duration scene_length_;
  Table table_;
  Timer timer_;
  MonotonicTime began_{}, row_at_{};
  std::size_t scene_ = 0;
};

int failed(const std::string& message) {
  std::fprintf(stderr, "weir demo: %s\n", message.c_str());
  return 1;
}

// What stands around weir in the demo: the service and the load, each on a thread of its own. Ends before the server does.
struct Surroundings {
  Surroundings(MetricsRegistry& metrics, const ListenSocket& socket, const Manners& manners, const Address& proxy, LoadCounts& counts)
      : service_thread(metrics, 1, entropy()),
        load_thread(metrics, 2, entropy()),
        service(service_thread, socket, manners),
        load(load_thread, proxy, counts) {
    service_thread.start();
  }
  ~Surroundings() { stop(); }
  void stop() {
    load_thread.stop();
    service_thread.stop();
  }
  LoopThread service_thread, load_thread;
  demo::Service service;
  Load load;
};

}  // namespace

int demo(const DemoOptions& options) {
  const Result<Address> proxy = pick_address("127.0.0.1:15001");
  const Result<Address> admin = pick_address("127.0.0.1:9901");
  const Result<Address> any = Address::parse("127.0.0.1:0");
  if (!proxy || !admin) return failed((proxy ? admin : proxy).error().message);
  Result<std::unique_ptr<ListenSocket>> socket = ListenSocket::open(*any);
  if (!socket) return failed(socket.error().message);

  config::HostSources sources;
  const LoadedConfig loaded = load_config_text(yaml_of(*proxy, *admin, (*socket)->address()), "demo.yaml", filter_catalog(), sources);
  if (loaded.config == nullptr) return failed(loaded.report);

  Server* server = nullptr;
  RealPlatformOptions host;
  host.workers = 1;
  RealPlatform platform(host, [&server](int) {
    if (server != nullptr) server->stop();
  });
  MetricsRegistry metrics;
  Manners manners;
  LoadCounts counts;
  ServerHooks hooks;
  hooks.load = [config = loaded.config]() -> Result<std::shared_ptr<const Config>> { return config; };
  hooks.finished = [&](bool) { platform.stop_main(); };
  Server the_server(platform, metrics, std::move(hooks));
  server = &the_server;
  const Result<void> started = the_server.start(loaded.config);
  if (!started) {
    platform.stop_workers();
    return failed(started.error().message);
  }
  {
    Surroundings around(metrics, **socket, manners, *proxy, counts);
    around.load.start(kRequestsPerSecond);
    around.load_thread.start();
    Director director(platform.main_loop(), manners, counts, metrics, the_server, options.duration);
    director.start(*proxy, *admin);
    platform.run();
    around.stop();
  }
  server = nullptr;
  platform.stop_workers();
  std::printf("\nThe policy of this demo, as it would stand in your file:\n%s", kPolicy);
  return 0;
}

}  // namespace weir::cli
