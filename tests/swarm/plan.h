// Plan: one random world, written down: configurations, clients, upstreams, faults, reloads and its end. make_plan(seed) draws it.
// A run (run.h) plays it; a named test may change one or write its own. Equal seeds make equal plans with equal generators.
// It is data: what the checks need to know of a configuration stands beside its text, so that no checker reads YAML.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "proxy/base/random.h"
#include "proxy/base/time.h"
#include "proxy/sim/sim_net.h"

namespace weir::test {

using std::chrono::milliseconds;

// --- The configuration ---------------------------------------------------------------------------------------------------------------

struct FilterPlan {
  std::string kind, name;
  std::string fields;  // its own, as YAML flow: "total: 2s"
  std::string mode;    // "", "shadow" or "disabled"
  std::string when;    // a match block, or empty
  int ramp = 100;      // percent
  // What it promises.
  Duration total{0}, response_headers{0}, idle{0};  // timeout
  std::uint32_t max_attempts = 1;                   // retry
  bool safe_only = true;                            // retry: repeats what is idempotent only
  std::uint32_t limit = 0, queue = 0;               // concurrency_limit; limit 0: adaptive
  std::uint32_t burst = 0, per_second = 0;          // rate_limit without keys

  bool enforced() const { return mode.empty(); }
  bool always() const { return enforced() && when.empty() && ramp == 100; }  // for every request
  std::string text() const;
};

struct PolicyPlan {
  std::string name;
  std::vector<FilterPlan> filters;

  std::uint32_t most_attempts() const;  // of one exchange, free resends included
  std::size_t retries() const;          // enforced retry filters
  bool safe_only() const;
  Duration total() const;        // the least that holds for every request; 0: none
  Duration outer_total() const;  // ... of those outside whatever waits: retries and queues
  Duration response_headers() const;
};

constexpr std::size_t kServices = 3;
constexpr std::size_t kHttp2Service = 3;  // whose endpoints speak HTTP/2, in every configuration

struct ServicePlan {
  std::string name;
  std::vector<std::string> endpoints;  // as written
  std::string fields;                  // all but limits and retry budget
  std::uint32_t connections = 10000, pending = 1024, requests = 0;
  std::string limits_mode;
  int budget_percent = 20, budget_per_second = 1, budget_window = 10;
};

inline const std::string kTlsListener = "l2";  // is secured, in every configuration

struct RoutePlan {
  std::string text;
};

struct ListenerPlan {
  std::string name;
  bool inbound = false;
  std::string address;
  std::vector<std::string> fields;  // limits, timeouts, half_close
  std::vector<RoutePlan> routes;
};

struct ConfigPlan {
  std::vector<ListenerPlan> listeners;
  std::map<std::string, ServicePlan> services;
  std::map<std::string, PolicyPlan> policies;
  int drain_seconds = 10;
  std::string spoilt;  // makes it invalid; empty: it is to be taken

  std::string yaml() const;
};

// --- Clients -------------------------------------------------------------------------------------------------------------------------

struct RequestPlan {
  enum class Framing : std::uint8_t { none, length, chunked };
  enum class Expect : std::uint8_t { no, waits, impatient };  // impatient: sends the body after a while without a 100
  std::uint32_t id = 0;
  std::string method = "GET";
  std::string target = "/";
  std::string host = "h1.test";
  std::string more;  // further fields, each with its CRLF
  std::string raw;   // garbage that is sent in place of a request
  bool http10 = false;
  bool close = false;
  Framing framing = Framing::none;
  Expect expect = Expect::no;
  std::size_t size = 0;
  int pieces = 1;  // that the body is sent in
  Duration piece_gap{0};
  bool stops_short = false;  // the last piece never comes
  bool trailers = false;     // of a chunked body
  Duration cancel_after{0};  // HTTP/2: RST_STREAM, if it is not answered by then; 0: never

  bool safe() const;  // may be sent twice: its method says so, or it has an Idempotency-Key
};

struct ClientPlan {
  enum class End : std::uint8_t { stay, fin, reset, close };  // what it does at end_at, whatever runs; stay: nothing
  std::string listener;
  Duration at{0};
  std::vector<RequestPlan> requests;
  bool http2 = false;            // with prior knowledge: pipelined means all streams at once
  std::uint32_t window = 65535;  // HTTP/2: of each stream
  bool pipelined = false;
  Duration gap{0};   // between an answer and the next request
  Duration slow{0};  // pauses its reading so long after each read
  End end = End::stay;
  Duration end_at{0};       // from its beginning
  bool half_close = false;  // FIN after the last request, then waits for the answers
  bool lingers = false;     // keeps its connection when all is answered, until the proxy or the world's end closes it

  bool patient() const { return end == End::stay && !half_close; }
};

// --- Upstreams and the network -------------------------------------------------------------------------------------------------------

enum class Act : std::uint8_t {
  ok,
  status,  // one of many
  slow_head,
  slow_body,
  short_body,  // less than its length, then FIN
  reset_body,  // ... or RST
  broken_chunk,
  chunked,
  until_close,
  informational,  // 1xx before the answer
  early,          // answers at the head
  says_close,     // Connection: close
  closes,         // keeps alive, and closes all the same
  never,
  garbage,
  reset,  // before any answer
  fin,
  retry_after,
  left_over,  // bytes behind its answer
  no_body,    // 204, 304, or a length of 0
  large,
  count_,
};
const char* to_word(Act act);

struct EndpointPlan {
  std::string address;
  std::vector<std::uint32_t> weights;  // by Act
  std::uint32_t head_ms = 20;          // of slow heads and bodies, at most
  bool http2 = false;                  // with prior knowledge
  std::uint32_t streams = 100;         // HTTP/2: at once, of a connection
  std::uint32_t window = 65535;        // HTTP/2: of each stream
  SimConditions net;
};

struct FaultPlan {
  enum class Kind : std::uint8_t { stall, unstall, reset, down, up, refuse, black_hole, clear, names, pressure };
  Kind kind = Kind::reset;
  Duration at{0};
  std::string target;                  // an address, or a name for `names`
  std::vector<std::string> addresses;  // of that name from then on
  std::uint32_t cpu = 0, memory = 0;   // for `pressure`, in thousandths
};

struct ReloadPlan {
  Duration at{0};
  ConfigPlan config;
};

struct Plan {
  enum class End : std::uint8_t {
    quiet,  // clients leave, faults end, everything comes to rest: all checks
    drain,  // told to end while clients are there: the same after it has ended
    cut,    // dropped in the middle of everything: nothing may break
  };
  std::uint64_t seed = 0;
  std::size_t workers = 1;
  ConfigPlan config;
  std::vector<ReloadPlan> reloads;
  std::vector<ClientPlan> clients;
  std::vector<EndpointPlan> endpoints;
  std::map<std::string, std::vector<std::string>> names;  // for dns: endpoints
  Duration names_ttl = std::chrono::seconds(2);
  std::map<std::string, SimConditions> listener_net;  // by listener address
  std::vector<FaultPlan> faults;
  End end = End::quiet;
  Duration active{std::chrono::seconds(8)};  // until the end begins
  bool stopped_twice = false;                // a second order while it drains

  // Of all configurations that may be in force.
  std::vector<const ConfigPlan*> configs() const;
  bool reloads_well() const;                      // some reload is to be taken
  bool clean(const std::string& address) const;   // the network does no harm there, but for delay
  bool stays(const std::string& listener) const;  // that listener is in every configuration, at one address
};

Plan make_plan(std::uint64_t seed);
ConfigPlan make_config(Random& random);
void change_config(ConfigPlan& config, Random& random);  // for a reload
std::string describe(const Plan& plan);

// Draws that the generators share.
inline std::uint32_t pick(Random& random, std::uint32_t least, std::uint32_t most) {
  return least + static_cast<std::uint32_t>(random.below(most - least + 1));
}
template <class T>
const T& one_of(Random& random, const std::vector<T>& all) {
  return all[random.below(all.size())];
}

}  // namespace weir::test
