// What a request would meet: which route takes it and why not another, what is sent on, to which services, by which policy, through
// which filters, and the worst case that follows. `weir explain` prints it; its caller owns it, and the configuration outlives it.
// The request is read by the parser, the normalising and the matching that serve traffic; nothing is built, opened, sent or decided.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/schema/config.h"
#include "proxy/chain/worst_case.h"

namespace weir {

struct RequestText {  // as a client would say it
  std::string method;
  std::string url;                                           // http://host/path, /path, *, or host:port with CONNECT
  std::vector<std::pair<std::string, std::string>> headers;  // a Host takes the place of the url's
};

struct RouteVerdict {
  const RouteConfig* route = nullptr;
  std::string why;  // it did not match
};

struct FilterPlan {
  const FilterSpec* spec = nullptr;
  ChainStep step;
  std::string_view idle;  // why it does not act on this request; static; empty: it does
  std::vector<FilterNote> notes;
};

struct TargetPlan {
  const ServiceConfig* service = nullptr;
  std::uint32_t weight = 1;   // its share of ...
  std::uint64_t weights = 1;  // ... these
  PolicyChoice choice;
  std::vector<FilterPlan> filters;  // outermost first
  WorstCase worst;
  bool has_body = false;  // the request has one, which may come slowly
};

struct RequestPlan {
  const Config* config = nullptr;
  const ListenerConfig* listener = nullptr;
  std::string method, authority, target;  // normalised
  std::string refused;                    // not empty: why weir answers before any route is asked
  int status = 0;                         // of an answer of weir's own: refused, no route, or the route's `respond`
  std::vector<RouteVerdict> passed;       // the routes that were asked before
  const RouteConfig* route = nullptr;     // the one that takes it; null: none
  std::string sent_target;                // after `rewrite`
  std::vector<TargetPlan> targets;        // empty for an answer of weir's own; those of weight 0 are left out
};

RequestPlan plan_request(const Config& config, const ListenerConfig& listener, const RequestText& request);

}  // namespace weir
