// A plan for people: what a failing seed prints before its trail.
#include "proxy/base/text.h"
#include "tests/swarm/plan.h"

namespace weir::test {
namespace {

std::string ms(Duration duration) { return concat(duration.count() / 1'000'000, "ms"); }

std::string net_text(const SimConditions& net) {
  std::string out = concat("delay ", ms(net.delay), " jitter ", ms(net.jitter));
  const auto chance = [&](const char* what, double value) {
    if (value > 0) out += concat(" ", what, " ", static_cast<int>(value * 100), "%");
  };
  if (net.window < 60'000) out += concat(" window ", net.window);
  chance("fragment", net.fragment);
  chance("short_read", net.short_read);
  chance("short_write", net.short_write);
  chance("refuse", net.refuse);
  chance("black_hole", net.black_hole);
  chance("reset", net.reset);
  chance("stall", net.stall);
  return out;
}

std::string request_text(const RequestPlan& request) {
  if (!request.raw.empty()) return concat("      garbage, ", request.raw.size(), " bytes\n");
  std::string out = concat("      ", request.id, " ", request.method, " ", request.target, " host ", request.host);
  if (request.http10) out += " HTTP/1.0";
  if (request.close) out += " close";
  if (request.framing != RequestPlan::Framing::none) {
    out += concat(request.framing == RequestPlan::Framing::chunked ? " chunked " : " length ", request.size, " in ", request.pieces,
                  " pieces every ", ms(request.piece_gap));
  }
  if (request.expect != RequestPlan::Expect::no) out += request.expect == RequestPlan::Expect::waits ? " waits for 100" : " expects 100";
  if (request.stops_short) out += " stops short";
  if (request.trailers) out += " with trailers";
  if (request.cancel_after > Duration(0)) out += " cancelled after " + ms(request.cancel_after);
  std::string more = request.more;
  for (std::size_t at = more.find("\r\n"); at != std::string::npos; at = more.find("\r\n")) more.replace(at, 2, "; ");
  return concat(out, more.empty() ? "" : " [", more, more.empty() ? "\n" : "]\n");
}

std::string client_text(const ClientPlan& client, std::size_t index) {
  static constexpr const char* kEnds[] = {"stays", "FIN", "RST", "closes"};
  std::string out = concat("    client ", index, " to ", client.listener, " at ", ms(client.at),
                           client.http2 ? concat(" h2 window ", client.window) : std::string(), client.pipelined ? " pipelined" : "",
                           " gap ", ms(client.gap));
  if (client.slow != Duration(0)) out += " slow " + ms(client.slow);
  if (client.half_close) out += " half-closes";
  if (client.lingers) out += " lingers";
  if (client.end != ClientPlan::End::stay) out += concat(" ", kEnds[static_cast<int>(client.end)], " after ", ms(client.end_at));
  out += "\n";
  for (const RequestPlan& request : client.requests) out += request_text(request);
  return out;
}

std::string fault_text(const FaultPlan& fault) {
  static constexpr const char* kKinds[] = {"stall", "unstall", "reset", "down", "up", "refuse", "black_hole", "clear", "names", "pressure"};
  std::string out = concat("    ", ms(fault.at), " ", kKinds[static_cast<int>(fault.kind)], " ", fault.target);
  for (const std::string& address : fault.addresses) out += " " + address;
  if (fault.kind == FaultPlan::Kind::pressure) out += concat("cpu ", fault.cpu, " memory ", fault.memory);
  return out + "\n";
}

}  // namespace

const char* to_word(Act act) {
  static constexpr const char* kWords[] = {"ok",           "status",  "slow_head",   "slow_body",     "short_body", "reset_body",
                                           "broken_chunk", "chunked", "until_close", "informational", "early",      "says_close",
                                           "closes",       "never",   "garbage",     "reset",         "fin",        "retry_after",
                                           "left_over",    "no_body", "large"};
  static_assert(sizeof(kWords) / sizeof(kWords[0]) == static_cast<std::size_t>(Act::count_));
  return kWords[static_cast<std::size_t>(act)];
}

std::string describe(const Plan& plan) {
  static constexpr const char* kEnds[] = {"comes to rest", "is drained", "is cut off"};
  std::string out = concat("seed ", plan.seed, ": ", plan.workers, " workers, ", ms(plan.active), ", then it ",
                           kEnds[static_cast<int>(plan.end)], plan.stopped_twice ? ", told twice" : "", "\n", plan.config.yaml());
  for (const ReloadPlan& one : plan.reloads) out += concat("--- reload at ", ms(one.at), "\n", one.config.yaml());
  out += "--- clients\n";
  for (std::size_t i = 0; i < plan.clients.size(); ++i) out += client_text(plan.clients[i], i);
  out += "--- listeners' network\n";
  for (const auto& [address, net] : plan.listener_net) out += concat("    ", address, ": ", net_text(net), "\n");
  out += "--- endpoints\n";
  std::string configured = plan.config.yaml();
  for (const ReloadPlan& one : plan.reloads) configured += one.config.yaml();
  for (const EndpointPlan& one : plan.endpoints) {
    const bool by_name = one.address.find(".1", 7) != std::string::npos && one.address.size() > 11;
    if (!by_name && configured.find(one.address) == std::string::npos) continue;
    out +=
        concat("    ", one.address, one.http2 ? concat(" (h2, ", one.streams, " streams, window ", one.window, "): ") : std::string(": "),
               net_text(one.net), "; pauses ", one.head_ms, "ms;");
    for (std::size_t i = 0; i < one.weights.size(); ++i) {
      if (one.weights[i] != 0) out += concat(" ", to_word(static_cast<Act>(i)), " ", one.weights[i]);
    }
    out += "\n";
  }
  for (const auto& [name, addresses] : plan.names) {
    out += "    " + name + " is";
    for (const std::string& address : addresses) out += " " + address;
    out += "\n";
  }
  out += "--- faults\n";
  for (const FaultPlan& fault : plan.faults) out += fault_text(fault);
  return out;
}

}  // namespace weir::test
