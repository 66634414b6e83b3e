// ChainWorld: one simulated worker for tests of links and filters: loop, pools, metrics; TestExchange: one request on it, with a Caller
// that records everything it is told and checks the contract of link.h. FilterFixture: what a factory builds a link with.
// The test owns them; the world outlives its exchanges.
// They never decide anything and never fail a test by themselves but for broken laws (CHECK).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/chain/chain.h"
#include "proxy/chain/link.h"
#include "proxy/metrics/metrics.h"
#include "proxy/sim/sim_loop.h"

namespace weir::test {

struct ChainWorld {
  explicit ChainWorld(std::uint64_t seed = 1) : random(seed) {}
  // One worker of several, in a world that they share; it outlives them.
  ChainWorld(SimWorld& world, std::uint32_t index, std::uint64_t seed = 1) : loop(world), random(seed + index) { worker.index = index; }
  SimLoop loop;
  BufferPool buffers;
  ArenaPool arenas;
  Random random;
  MetricsRegistry registry;
  WorkerContext worker{loop, buffers, arenas, random, registry.shard(0), 0};

  // The sum of a counter over the label sets that contain all of `labels` ("decision=retried").
  double metric(std::string_view family, const std::vector<std::string>& labels) const;
};

// The writing end of a request body, as a codec would hold it.
class TestUpload final : private BodySource {
 public:
  explicit TestUpload(ChainWorld& world, Arena& arena, std::int64_t expected = -1);
  BodyPipe::Reader take_reader() { return std::move(ends_.reader); }
  void send(std::string_view text) { ends_.writer.write(as_bytes(text)); }
  void finish(const Headers* trailers = nullptr) { ends_.writer.finish(trailers); }
  void abort(BodyAbort reason) { ends_.writer.abort(reason); }
  bool paused() const { return ends_.writer.paused(); }
  bool dropped() const { return dropped_; }  // nobody wants it any more
  int resumed() const { return resumed_; }

 private:
  void on_body_resume() override { ++resumed_; }
  void on_body_dropped() override { dropped_ = true; }
  BodyPipe::Ends ends_;
  bool dropped_ = false;
  int resumed_ = 0;
};

class TestExchange final : private Caller, private BodySink {
 public:
  explicit TestExchange(ChainWorld& world, std::string_view method = "GET", std::string_view target = "/");
  ~TestExchange();

  ExchangeContext& context() { return *context_; }
  RequestHead& head() { return *head_; }
  void make_grpc(std::string_view timeout = {});       // before start(): a gRPC call, with a grpc-timeout
  TestUpload& add_upload(std::int64_t expected = -1);  // before start(): the request has a body

  // Starts the request on `link`; time passes only as the test lets it.
  void start(Link& link, RequestKind kind = RequestKind::http);
  void start(Link& link, Request&& request);
  void drop() { call_.reset(); }  // the client is gone
  void drop_on_response() { drop_on_response_ = true; }
  void keep_after_end() { keep_after_end_ = true; }  // the call is dropped by the test only
  void stop_reading() { reading_ = false; }
  void read_on();

  bool told() const { return ended || failure.has_value(); }
  std::vector<std::string> decisions() const;  // "retried/reset", oldest first

  std::vector<int> informational;
  int status = 0;  // of the response told; 0: none
  std::uint32_t endpoint = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  bool body_ended = false;
  BodyAbort body_abort = BodyAbort::none;
  bool ended = false;
  std::vector<std::pair<std::string, std::string>> trailers;      // of the body
  std::vector<std::pair<std::string, std::string>> end_trailers;  // as the call's end told them
  std::optional<FailureKind> end_failure;
  std::optional<Failure> failure;
  MonotonicTime told_at{};

 private:
  void on_informational(const ResponseHead& head) override;
  void on_response(Response&& response) override;
  void on_end(const End& end) override;
  void on_failure(const Failure& told) override;
  std::size_t on_body(ByteView bytes) override;
  void on_body_end(const Headers* trailers) override;
  void on_body_abort(BodyAbort reason) override;

  ChainWorld& world_;
  Arena& arena_;
  RequestHead* head_;
  std::unique_ptr<ExchangeContext> context_;
  std::unique_ptr<TestUpload> upload_;
  BodyPipe::Reader reader_;
  CallPtr call_;
  bool in_start_ = false;
  bool drop_on_response_ = false;
  bool keep_after_end_ = false;
  bool reading_ = true;
};

// An identity, Decisions and LinkContext for one filter built by hand.
struct FilterFixture {
  explicit FilterFixture(ChainWorld& world, std::string_view kind = "filter", bool shadow = false);
  ChainWorld& world;
  LinkIdentity identity;
  FilterSpec spec;
  Decisions decisions;
  FilterState* state = nullptr;
  RetryBudget* budget = nullptr;
  const HostPressure* pressure = nullptr;

  LinkContext context() { return {world.worker, identity, spec, decisions, identity.shadow, state, budget, pressure}; }
};

}  // namespace weir::test
