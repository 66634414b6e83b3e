// Both codecs between a client and an upstream that send any bytes, in any pieces, with FIN, RST and time passing in between: nothing
// crashes and nothing is left behind. What reaches the upstream are requests that the client sent, whole or broken off, in their order
// and nothing else; what reaches the client are answers of the upstream or of our own. Both are read by us and, where it is there, by
// llhttp alike: nobody smuggles a message through.
//
// The input is a script: a byte of order (what, and how many bytes follow), then those bytes.
#include <cstdlib>

#include "proxy/base/text.h"
#include "proxy/metrics/metrics.h"
#include "proxy/sim/sim_net.h"
#include "proxy/sim/sim_peer.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/fuzz/h1_messages.h"
#include "tests/http/h1_relay.h"
#ifdef WEIR_ORACLE
#include "tests/fuzz/h1_compare.h"
#endif

namespace weir {

namespace {

struct World final : private AcceptHandler, private ByteStreamHandler {
  World() : front(Address::parse("127.0.0.1:1").value()), back(Address::parse("127.0.0.1:2").value()) {
    net.conditions().window = 3000;
    net.listen(front, *this);
  }
  ~World() { relay.reset(); }
  void on_accept(std::unique_ptr<ByteStream> stream) override {
    accepted = std::move(stream);
    connecting = net.connect(back, *this);
  }
  void on_readable() override {}
  void on_writable() override {}
  void on_connected(int) override { relay = std::make_unique<H1Relay>(worker, std::move(accepted), std::move(connecting)); }

  SimLoop loop;
  SimNet net{loop};
  Address front, back;
  BufferPool buffers;
  ArenaPool arenas;
  Random random{5};
  MetricsRegistry registry;
  WorkerContext worker{loop, buffers, arenas, random, registry.shard(0), 0};
  std::unique_ptr<ByteStream> accepted, connecting;
  std::unique_ptr<H1Relay> relay;
};

// One end of the relay, and what it said.
struct End {
  explicit End(SimPeer& of) : peer(of) {}
  void send(std::string_view bytes) {
    if (finished || was_reset) return;
    said.append(bytes);
    peer.send(bytes);
  }
  void stop(bool with_reset) {
    if (was_reset) return;
    finished = true;
    was_reset = with_reset;
    said_fin = said_fin || !with_reset;
    with_reset ? peer.reset() : peer.finish();
  }

  SimPeer& peer;
  std::string said;
  bool finished = false;
  bool was_reset = false;
  bool said_fin = false;  // a reset may have come after it: what was said may have been taken for whole by then, or not
};

std::vector<Method> methods_of(const std::vector<H1Message>& requests) {
  std::vector<Method> methods;
  for (const H1Message& request : requests) methods.push_back(request.method);
  return methods;
}

std::string shown(std::string_view what, const End& client, const End& upstream) {
  return concat(what, "\n--- client said ---\n", client.said, "\n--- upstream heard ---\n", upstream.peer.received(),
                "\n--- upstream said ---\n", upstream.said, "\n--- client heard ---\n", client.peer.received());
}

// Each of `out` is one of `in`, in the same order: whole only if that is whole, else its beginning.
void check_came_from(const std::vector<H1Message>& out, const std::vector<H1Message>& in, bool answers, const std::string& all) {
  std::size_t at = 0;
  for (const H1Message& one : out) {
    const auto is_same = [&](const H1Message& sent) {
      if (sent.head != one.head || sent.fields != one.fields) return false;
      if (!sent.authority.empty() && sent.authority != one.authority) return false;  // who names no host gets the upstream's address
      if (one.complete) return sent.complete && sent.body == one.body && (one.trailers.empty() || one.trailers == sent.trailers);
      return std::string_view(sent.body).starts_with(one.body);
    };
    std::size_t found = at;
    while (found < in.size() && !is_same(in[found])) ++found;
    if (found < in.size()) {
      at = found + 1;
    } else {
      require(answers && one.is_local_answer(), answers ? "an answer that nobody gave" : "a request that nobody sent", all);
    }
  }
}

void check_read_alike(std::string_view bytes, bool response, const std::vector<Method>& asked, const std::string& all) {
#ifdef WEIR_ORACLE
  const Comparison compared = compare_readings({bytes, response, asked, HttpLimits()});
  require(compared.unexplained.empty(), compared.unexplained, all);
#else
  static_cast<void>(bytes), static_cast<void>(response), static_cast<void>(asked), static_cast<void>(all);
#endif
}

void check_messages(const End& client, const End& upstream) {
  const std::string all = shown("", client, upstream);
  const H1Stream asked = read_requests(client.said);
  const H1Stream forwarded = read_requests(upstream.peer.received());
  require(forwarded.broken.empty(), "a request that we would refuse", all);
  check_came_from(forwarded.messages, asked.messages, false, all);
  check_read_alike(upstream.peer.received(), false, {}, all);

  const bool upstream_ended = upstream.said_fin;
  const std::vector<Method> up_methods = methods_of(forwarded.messages), down_methods = methods_of(asked.messages);
  const H1Stream answered = read_answers(upstream.said, up_methods, upstream_ended);
  const H1Stream returned = read_answers(client.peer.received(), down_methods, client.peer.ended());
  require(returned.broken.empty(), concat("an answer that we would refuse: ", returned.broken), all);
  // One more where the client's last words were no request.
  require(returned.messages.size() <= asked.messages.size() + 1, "more answers than requests", all);
  check_came_from(returned.messages, answered.messages, true, all);
  if (returned.messages.size() <= down_methods.size()) check_read_alike(client.peer.received(), true, down_methods, all);
}

void play(std::string_view script) {
  World w;
  SimServer server(w.net, w.loop, w.back);
  SimPeer client_peer(w.net, w.front);
  w.loop.run_ready();
  End client(client_peer), upstream(server.last());
  while (!script.empty()) {
    const auto order = static_cast<std::uint8_t>(script.front());
    script.remove_prefix(1);
    End& end = (order & 1) != 0 ? upstream : client;
    const unsigned what = (order >> 1) & 0x7;
    if (what < 5) {
      const std::size_t size = std::min<std::size_t>(script.size(), what == 4 ? 2000 : (std::size_t{order} >> 4) * 8 + 1);
      end.send(script.substr(0, size));
      script.remove_prefix(size);
    } else if (what == 5) {
      end.stop((order & 0x10) != 0);
    } else if (what == 6) {
      w.loop.advance(std::chrono::milliseconds(order & 0x10 ? 20'000 : 300));
    } else {
      end.peer.pause_reading((order & 0x10) != 0);
    }
    if ((order & 0x80) == 0) w.loop.run_ready();
  }
  w.loop.run_ready();
  require(w.buffers.bytes_held() < 4 * 1024 * 1024, "memory is bounded");
  check_messages(client, upstream);
  client.peer.close();
  upstream.peer.close();
  w.loop.advance(2h);
  if (w.relay != nullptr) {
    require(!w.relay->busy() && w.relay->closed, "all is over when both are gone");
    w.relay.reset();
  }
  require(w.buffers.bytes_held() == 0 && w.arenas.in_use() == 0, "nothing is left behind");
}

}  // namespace

}  // namespace weir

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  weir::play(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
