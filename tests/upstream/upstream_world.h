// UpstreamWorld: workers in virtual time over a simulated network, services from configurations, and client connections that the
// test plays itself: it decides what each one answers and when. A test owns it.
// It never parses: FakeClient stands in for the codec, unless the real ones are asked for.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/metrics/metrics.h"
#include "proxy/sim/sim_net.h"
#include "proxy/sim/sim_peer.h"
#include "proxy/upstream/worker_services.h"

namespace weir::test {

// The client side of a connection as a test plays it. One request at a time.
class FakeClient final : public ClientConnection, private ClientStream {
 public:
  FakeClient(WorkerContext& worker, std::unique_ptr<ByteStream> stream, ClientConnectionHandler& handler);
  ~FakeClient() override;

  ClientStreamPtr open(Arena& arena, const RequestHead& head, std::span<const HeaderField> extra, BodyPipe::Reader body,
                       ClientStreamHandler& handler) override;
  bool available() const override { return !closed_ && !closing_ && !busy_; }
  bool idle() const override { return !busy_; }
  std::uint64_t streams_opened() const override { return opened_; }
  void close_when_idle() override { closing_ = true; }

  // What the test does, each as an event of its own.
  void respond(int status);  // the head
  void end();                // the last byte; then available again, or closed
  void answer(int status) {
    respond(status);
    end();
  }
  void fail(ClientError error, bool anything_received = false);  // the stream, and with it the connection
  void close();                                                  // an idle connection is closed by the peer

  bool busy() const { return busy_ && handler_ != nullptr; }
  bool dropped() const { return busy_ && handler_ == nullptr; }  // a cancelled request: the rest is being read away
  const std::string& extra() const { return extra_; }
  std::uint16_t port() const { return port_; }
  std::uint32_t worker() const { return worker_.index; }
  std::uint64_t allocations = 0;  // of telling the last end()

 private:
  void drop() noexcept override;
  bool response_started() const override { return responded_; }
  void run(void (FakeClient::*step)());
  void finished();

  WorkerContext& worker_;
  std::unique_ptr<ByteStream> stream_;
  ClientConnectionHandler& connection_;
  ClientStreamHandler* handler_ = nullptr;
  Arena* arena_ = nullptr;
  std::uint64_t opened_ = 0;
  std::string extra_;
  std::uint16_t port_;
  bool busy_ = false, responded_ = false, closing_ = false, closed_ = false;
};

// Answers when the test says so.
class FakeResolver final : public NameResolver {
 public:
  explicit FakeResolver(EventLoop& loop) : loop_(loop) {}
  std::unique_ptr<NameLookup> lookup(const std::string& host, std::uint16_t port, AddressFamilies families, NameHandler& handler) override;
  std::unique_ptr<NameLookup> lookup_srv(const std::string& name, SrvHandler& handler) override;
  // All lookups of addresses that wait, or those of one host: each of its families with what there is of it; none of it: absent.
  void answer(const std::vector<std::string>& addresses, Duration ttl, const std::string& host = {});
  void answer_family(NameAnswer answer);  // the one family only: the lookups wait on for the other
  void fail(const std::string& error);    // every lookup that waits
  void answer_srv(const std::vector<SrvTarget>& targets, Duration ttl);
  std::size_t waiting(const std::string& host = {}) const;
  std::size_t asked = 0;
  std::string last;                                  // host:port, or the name of SRV records
  AddressFamilies families = AddressFamilies::both;  // of the last one

 private:
  struct Lookup;
  void run(std::function<void()> task);
  std::vector<Lookup*> take(const std::string& host);
  void tell(const std::vector<Lookup*>& lookups, const std::vector<NameAnswer>& answers);
  EventLoop& loop_;
  std::vector<Lookup*> waiting_;
};

struct Worker {
  Worker(SimLoop& loop_, MetricsRegistry& registry, std::uint32_t index, SimNet& net, ServiceDirectory& directory,
         const ClientMakers& makers);
  SimLoop& loop;
  BufferPool buffers;
  ArenaPool arenas;
  Random random;
  WorkerContext context;
  std::vector<FakeClient*> clients;  // alive, in the order of connecting
  std::unique_ptr<WorkerServices> services;
};

class UpstreamWorld {
 public:
  enum class Codecs : std::uint8_t { fake, real };
  explicit UpstreamWorld(std::size_t workers = 1, Codecs codecs = Codecs::fake);
  ~UpstreamWorld();

  static ServiceConfig config(const std::vector<std::string>& endpoints);  // "127.0.0.1:9001", "dns:host:port", "srv:name" or "file:/path"
  void apply(const ServiceConfig& config, const std::string& name = "s");
  void run() { world.run_ready(); }
  void advance(Duration by) { world.advance(by); }
  Service& service(const std::string& name = "s") { return *directory.find(name); }
  ServiceStatus status(const std::string& name = "s") { return service(name).status(world.now()); }
  void listen(std::uint16_t port);
  void stop_listening(std::uint16_t port) { servers.erase(port); }
  SimServer& server(std::uint16_t port) { return *servers.at(port); }
  double metric(const std::string& name, const std::vector<std::string>& labels) const;  // 0 when missing
  std::vector<FakeClient*> busy(std::size_t worker = 0) const;                           // connections with a request in progress
  FakeClient& only_busy(std::size_t worker = 0) const;
  std::size_t open() const;  // server ends that are open

  SimWorld world;
  SimLoop& main;
  SimNet net;
  MetricsRegistry registry;
  FakeResolver resolver;
  ServiceDirectory directory;
  std::vector<std::unique_ptr<Worker>> workers;
  std::map<std::uint16_t, std::unique_ptr<SimServer>> servers;
};

// One request, its exchange and what it was told.
class TestRequest final : private Caller {
 public:
  struct Options {
    std::uint16_t attempt = 1;
    std::vector<std::uint32_t> tried;
    MonotonicTime deadline = kNever;
  };
  explicit TestRequest(UpstreamWorld& world, std::size_t worker = 0) : TestRequest(world, worker, Options{}) {}
  TestRequest(UpstreamWorld& world, std::size_t worker, const Options& options, const std::string& service = "s");
  ~TestRequest();
  void drop() { call_.reset(); }
  void drop_for_timeout();  // as a timeout filter does

  bool told() const { return failed || ended; }
  int status = 0;
  bool ended = false;   // clean or not
  bool failed = false;  // without an answer
  Failure failure;      // also of an answer that broke off
  std::uint32_t endpoint = 0;
  std::uint64_t allocations = 0;  // of start()
  ExchangeContext& exchange() { return *exchange_; }
  const AttemptRecord& attempt() { return *exchange_->last_attempt; }

 private:
  void on_informational(const ResponseHead&) override {}
  void on_response(Response&& response) override;
  void on_end(const End& end) override;
  void on_failure(const Failure& why) override;

  Arena& arena_;
  RequestHead* head_;
  ExchangeContext* exchange_;
  bool in_start_ = true;
  BodyPipe::Reader body_;
  CallPtr call_;
};

}  // namespace weir::test
