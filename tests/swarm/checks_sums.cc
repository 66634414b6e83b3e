// Sums and stories: that the metrics, the access log, the clients and the upstreams tell the same of every request.
#include <algorithm>

#include "proxy/base/text.h"
#include "tests/swarm/checks.h"

namespace weir::test {
namespace {

using nlohmann::json;

std::string word(const json& line, const char* key) {
  const auto found = line.find(key);
  return found == line.end() ? std::string() : found->get<std::string>();
}

void differ(const Evidence& evidence, const std::string& what, double one, double other) {
  if (one != other) evidence.broken(concat(what, ": ", static_cast<std::int64_t>(one), " and ", static_cast<std::int64_t>(other)));
}

const char* class_of(int status) {
  static constexpr const char* kClasses[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
  return kClasses[status >= 100 && status < 600 ? status / 100 : 0];
}

// Every cell of a family against the same cell counted from the log.
void compare(const Evidence& evidence, const char* family, const std::map<std::vector<std::string>, double>& counted) {
  std::map<std::vector<std::string>, double> metric;
  for (const MetricsRegistry::Snapshot& one : evidence.metrics) {
    if (one.name != family) continue;
    for (const MetricsRegistry::Sample& sample : one.samples) {
      if (sample.value != 0) metric[sample.labels] += sample.value;
    }
  }
  const auto told = [](const std::vector<std::string>& labels) {
    std::string text;
    for (const std::string& one : labels) text += " " + one;
    return text;
  };
  for (const auto& [labels, value] : counted) {
    const auto found = metric.find(labels);
    differ(evidence, concat(family, told(labels), ", the log and the metric"), value, found == metric.end() ? 0 : found->second);
  }
  for (const auto& [labels, value] : metric) {
    if (counted.count(labels) == 0) differ(evidence, concat(family, told(labels), ", the log and the metric"), 0, value);
  }
}

class Stories {
 public:
  explicit Stories(const Evidence& evidence) : evidence_(evidence) {
    for (const json& line : evidence.lines) {
      const std::string id = word(line, "id");
      if (id.size() < 2 || id[0] != 's') continue;
      const auto number = static_cast<std::uint32_t>(std::stoul(id.substr(1)));
      if (!lines_.emplace(number, &line).second) evidence.broken(concat("request ", number, " has two lines in the access log"));
    }
  }

  void check() const {
    for (const auto& [id, facts] : evidence_.ledger.requests) {
      const auto found = lines_.find(id);
      const json* line = found == lines_.end() ? nullptr : found->second;
      check_status(id, facts, line);
      check_seen(id, facts, line);
    }
    for (std::size_t i = 0; i < evidence_.plan.clients.size(); ++i) check_client(evidence_.plan.clients[i], evidence_.ledger.clients[i]);
  }

 private:
  void broken(std::uint32_t id, const std::string& what) const { evidence_.broken(concat("request ", id, ": ", what)); }

  void check_status(std::uint32_t id, const RequestFacts& facts, const json* line) const {
    if (line == nullptr) {
      // A head that took too long is answered before anybody knows whose it is.
      if (facts.status != 0 && facts.status != 408) broken(id, concat("its client got ", facts.status, ", the log knows nothing of it"));
      return;
    }
    const int status = (*line)["status"].get<int>();
    const std::string failure = word(*line, "failure");
    if (facts.status != 0 && facts.status != status) broken(id, concat("its client got ", facts.status, ", the log says ", status));
    if (facts.whole && facts.of_upstream && !failure.empty() && failure != "client_gone") {
      broken(id, "its client got the whole answer, the log says " + failure);
    }
    if (!facts.sent) broken(id, "it is in the log, and was never sent");
    if (facts.refused) broken(id, "it is in the log, and its client was told that nobody had looked at it");
    if ((*line)["duration_ms"].get<double>() < 0) broken(id, "it took less than no time");
  }

  void check_seen(std::uint32_t id, const RequestFacts& facts, const json* line) const {
    const std::size_t attempts = line == nullptr ? 0 : (*line)["attempts"].size();
    if (attempts < 16 && static_cast<std::size_t>(facts.heads_seen) > attempts) {
      broken(id, concat("upstreams saw it ", facts.heads_seen, " times, the log says ", attempts));
    }
    if (facts.heads_seen == 0 && facts.of_upstream) broken(id, "an upstream answered it, and none saw it");
    if (facts.plan->safe() || facts.heads_seen <= 1 || line == nullptr) return;
    for (const ConfigPlan* config : evidence_.plan.configs()) {
      const auto policy = config->policies.find(word(*line, "policy"));
      if (policy != config->policies.end() && !policy->second.safe_only()) return;
    }
    broken(id, concat("it must not be repeated, and upstreams saw it ", facts.heads_seen, " times"));
  }

  // A client to which the network did nothing, that sent all and read all, on a listener that nothing happened to.
  bool undisturbed(const ClientPlan& client, const ClientFacts& facts) const {
    const Plan& plan = evidence_.plan;
    if (plan.end != Plan::End::quiet || !client.patient() || facts.refused || !facts.connected || !plan.stays(client.listener))
      return false;
    for (const ConfigPlan* config : plan.configs()) {
      for (const ListenerPlan& one : config->listeners) {
        if (one.name != client.listener) continue;
        if (!plan.clean(one.address)) return false;
        for (const std::string& field : one.fields) {
          if (field.find("half_close") == std::string::npos) return false;  // limits and timeouts end connections
        }
      }
    }
    return true;
  }

  void check_client(const ClientPlan& client, const ClientFacts& facts) const {
    if (!undisturbed(client, facts)) return;
    for (std::size_t i = 0; i < client.requests.size(); ++i) {
      const RequestPlan& plan = client.requests[i];
      if (!plan.raw.empty() || (plan.stops_short && !client.http2) || i > facts.last_answer) return;
      const RequestFacts& mine = evidence_.ledger.requests.at(plan.id);
      if (!mine.sent) return;
      if (mine.cancelled || mine.refused) continue;
      const auto found = lines_.find(plan.id);
      if (found == lines_.end()) return broken(plan.id, "it was sent on a good connection, and nobody knows of it");
      if (!mine.whole && !facts.left && word(*found->second, "failure").empty()) {
        return broken(plan.id, "the log says that all went well, and its client did not get the answer");
      }
      if (client.http2) continue;  // streams go their own ways
      if (!mine.whole) return;     // the connection ended with it
      if (plan.framing != RequestPlan::Framing::none && (!mine.sent_whole || plan.size > 200'000 || plan.expect != RequestPlan::Expect::no))
        return;
    }
  }

  const Evidence& evidence_;
  std::map<std::uint32_t, const json*> lines_;
};

}  // namespace

void check_sums(const Evidence& evidence) {
  std::map<std::vector<std::string>, double> requests, failures, sent, received, attempts_failed;
  double attempts = 0;
  bool all_attempts = true;
  for (const json& line : evidence.lines) {
    const std::string listener = word(line, "listener");
    const std::string route = word(line, "route");
    const std::string service = word(line, "service");
    const std::string policy = word(line, "policy");
    const std::string failure = word(line, "failure");
    ++requests[{listener, route, service, policy, class_of(line["status"].get<int>())}];
    if (!failure.empty()) ++failures[{listener, route, service, policy, failure}];
    const auto bytes = [&](std::map<std::vector<std::string>, double>& sum, const char* key) {
      if (line[key].get<double>() > 0) sum[{listener, route, service}] += line[key].get<double>();
    };
    bytes(sent, "bytes_sent");
    bytes(received, "bytes_received");
    all_attempts = all_attempts && line["attempts"].size() < 16;
    attempts += static_cast<double>(line["attempts"].size());
    for (const json& one : line["attempts"]) {
      if (!word(one, "failure").empty()) ++attempts_failed[{service, word(one, "failure")}];
    }
  }
  compare(evidence, "weir_requests_total", requests);
  compare(evidence, "weir_request_failures_total", failures);
  compare(evidence, "weir_response_body_bytes_total", sent);
  compare(evidence, "weir_request_body_bytes_total", received);
  const double lines = static_cast<double>(evidence.lines.size());
  double begun = 0;
  for (const auto& worker : evidence.world.server->workers()) begun += static_cast<double>(worker->status().exchanges);
  differ(evidence, "exchanges begun, and lines of the access log", begun, lines);
  differ(evidence, "durations observed, and lines of the access log", evidence.sum("weir_request_duration_seconds"), lines);
  const double tries = evidence.sum("weir_attempts_total");
  if (all_attempts) differ(evidence, "tries in the metric, and in the access log", tries, attempts);
  differ(evidence, "tries, and their durations", tries, evidence.sum("weir_attempt_duration_seconds"));
  differ(evidence, "tries, and calls of the innermost link", tries, evidence.sum("weir_filter_requests_total", {{"filter", "upstream"}}));
  for (const auto& [labels, count] : attempts_failed) {
    if (!all_attempts) break;
    const double metric = evidence.sum("weir_attempts_total", {{"service", labels[0]}, {"outcome", labels[1]}});
    differ(evidence, concat("tries of ", labels[0], " that ended in ", labels[1], ", in the log and in the metric"), count, metric);
  }
  differ(evidence, "label sets without room", evidence.sum("weir_metrics_overflow_total"), 0);
}

void check_stories(const Evidence& evidence) { Stories(evidence).check(); }

}  // namespace weir::test
