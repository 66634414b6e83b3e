// What one hop of the chain costs: requests through N metered watching links over a link that answers at once, in virtual time.
//   bench_chain [hops] [requests]
// For instructions a hop: run it with 0 and with 10 hops under `perf stat -e instructions:u` or
// `valgrind --tool=callgrind`, and divide the difference by 10 hops and the requests.
#include <cstdlib>
#include <memory>
#include <vector>

#include "proxy/chain/filter_call.h"
#include "proxy/chain/link.h"
#include "proxy/chain/metered.h"
#include "proxy/sim/sim_loop.h"

namespace weir {
namespace {

class AnswerCall final : public Call {
 public:
  AnswerCall(ExchangeContext& exchange, Caller& caller)
      : Call(exchange, caller), later_(exchange.loop(), Callback::to<&AnswerCall::answer>(this)) {
    later_.schedule();
  }

 private:
  void answer() {
    if (std::exchange(told_, true)) return tell_end(End{});
    later_.schedule();
    ResponseHead head(exchange().arena);
    head.status = 200;
    Response response;
    response.head = &head;
    response.endpoint = 1;
    tell_response(std::move(response));
  }
  void silence() noexcept override { later_.cancel(); }
  Deferred later_;
  bool told_ = false;
};

class AnswerLink final : public Link {
 public:
  CallPtr start(Request&& request, Caller& caller) override { return CallPtr(make_call<AnswerCall>(*request.exchange, caller)); }
};

struct Ended final : Caller {
  CallPtr call;
  void on_informational(const ResponseHead&) override {}
  void on_response(Response&&) override {}
  void on_end(const End&) override { call.reset(); }
  void on_failure(const Failure&) override { call.reset(); }
};

void run(int hops, long requests) {
  SimLoop loop;
  BufferPool buffers;
  ArenaPool arenas;
  Random random(1);
  MetricsRegistry registry;
  WorkerContext worker{loop, buffers, arenas, random, registry.shard(0), 0};
  AnswerLink innermost;
  LinkIdentity identity;
  identity.filter = "hop";
  std::vector<std::unique_ptr<Link>> links;
  Link* outermost = &innermost;
  for (int i = 0; i < hops; ++i) {
    links.push_back(std::make_unique<Metered>(*outermost, identity, worker.metrics));
    outermost = links.back().get();
  }
  for (long i = 0; i < requests; ++i) {
    Arena& arena = arenas.open();
    auto* head = arena.make<RequestHead>(arena);
    auto* context = arena.make<ExchangeContext>(worker, arena, *head);
    Ended caller;
    Request request;
    request.exchange = context;
    request.head = head;
    caller.call = outermost->start(std::move(request), caller);
    loop.run_ready();
    arena.release();
  }
}

}  // namespace
}  // namespace weir

int main(int argc, char** argv) {
  const int hops = argc > 1 ? std::atoi(argv[1]) : 10;
  const long requests = argc > 2 ? std::atol(argv[2]) : 1'000'000;
  weir::run(hops, requests);
  return 0;
}
