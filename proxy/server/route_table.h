// RouteTable: the routes of one listener on one worker, ready to serve: matchers, edits, chains and counters; the first that matches wins.
// The worker's snapshot owns it; exchanges borrow it for as long as they hold the snapshot. It is immutable but for its counters.
// It never normalises (request_target.h does that before) and never allocates once built.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema/config.h"
#include "proxy/chain/chain.h"
#include "proxy/server/request_metrics.h"

namespace weir {

class ServiceDirectory;
class WorkerServices;

// Header edits with names in lower case and their ids looked up. The configuration refuses edits of fields that belong to the connection.
struct CompiledEdits {
  struct Set {
    std::string name, value;
  };
  std::vector<Set> set;
  std::vector<std::string> remove;

  static CompiledEdits compile(const HeaderEdits& edits);
  // Adds views of this object: it must outlive the headers.
  void apply(Headers& headers) const;
};

// The index of the first route that takes the request; routes.size() when none does.
std::size_t first_match(const std::vector<RouteConfig>& routes, const RequestHead& head);

// What the route changes before the request is sent on: rewrite, then edits, compiled from request_headers; they outlive the head.
void edit_request(const RouteConfig& route, const CompiledEdits& edits, Arena& arena, RequestHead& head);

struct RouteTarget {
  std::string service;
  const PolicySpec* policy = nullptr;
  std::unique_ptr<Chain> chain;
  std::uint64_t weight_end = 0;  // sum of the weights up to and including this one
  mutable RequestMetrics metrics;
};

struct Route {
  const RouteConfig* config = nullptr;
  CompiledEdits request_edits, response_edits;
  CompiledEdits direct_edits;             // the fields of a direct response
  std::vector<RouteTarget> targets;       // empty for a direct response
  mutable RequestMetrics direct_metrics;  // of direct responses

  // Stable: the same hash always goes to the same target while the weights stay.
  const RouteTarget& pick(std::uint64_t hash) const;
};

struct RouteTableParts {  // what a table is built from; all outlive it
  const Config& config;
  WorkerContext& worker;
  StateStore& states;
  WorkerServices& services;
  ServiceDirectory& directory;
  const HostPressure* pressure = nullptr;
};

class RouteTable {
 public:
  RouteTable(const ListenerConfig& listener, const RouteTableParts& parts);

  const Route* match(const RequestHead& head) const;
  const ListenerConfig& listener() const { return listener_; }
  RequestMetrics& unrouted() const { return unrouted_; }  // of requests that no route takes, or that were refused before

 private:
  const ListenerConfig& listener_;
  std::vector<Route> routes_;
  mutable RequestMetrics unrouted_;
};

}  // namespace weir
