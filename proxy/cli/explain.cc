// weir explain: what a request would meet, from the file alone; runs nothing.
#include <cstdio>

#include "filters/catalog.h"
#include "proxy/base/text.h"
#include "proxy/cli/command_line.h"
#include "proxy/cli/explain_text.h"

namespace weir::cli {
namespace {

bool wanted(const ListenerConfig& listener, const ExplainOptions& options) {
  if (!options.listener.empty() && listener.name != options.listener) return false;
  return options.direction.empty() || (options.direction == "inbound") == (listener.direction == Direction::inbound);
}

// The one listener that is meant; the error says what to give.
Result<const ListenerConfig*> choose_listener(const Config& config, const ExplainOptions& options) {
  const ListenerConfig* chosen = nullptr;
  bool several = false;
  std::string names;
  for (const ListenerConfig& listener : config.listeners) {
    names += concat(names.empty() ? "" : ", ", listener.name, listener.direction == Direction::inbound ? " (inbound)" : " (outbound)");
    if (!wanted(listener, options)) continue;
    several = several || chosen != nullptr;
    if (chosen == nullptr) chosen = &listener;
  }
  if (config.listeners.empty()) return Error{"the file has no listeners: no request gets to weir"};
  if (chosen == nullptr) return Error{concat("no such listener; there are ", names)};
  if (several) return Error{concat("several listeners could take it: give --listener NAME, one of ", names)};
  return chosen;
}

RequestText request_of(const ExplainOptions& options) {
  RequestText request{options.method, options.url, {}};
  for (const std::string& field : options.headers) {
    const std::size_t colon = field.find(':');
    const std::size_t value = field.find_first_not_of(" \t", colon + 1);
    request.headers.emplace_back(field.substr(0, colon), value == std::string::npos ? std::string() : field.substr(value));
  }
  return request;
}

}  // namespace

int explain(const ExplainOptions& options) {
  config::HostSources sources;
  const LoadedConfig loaded = load_config(options.config, filter_catalog(), sources);
  if (loaded.config == nullptr) {
    std::fputs(loaded.report.c_str(), stderr);
    return loaded.exit_status(false);
  }
  const Result<const ListenerConfig*> listener = choose_listener(*loaded.config, options);
  if (!listener) {
    std::fprintf(stderr, "weir explain: %s\n", listener.error().message.c_str());
    return 2;
  }
  const RequestPlan plan = plan_request(*loaded.config, **listener, request_of(options));
  const std::string out = options.json ? explain_json(plan, loaded.findings) : explain_text(plan, loaded.findings);
  return print(out);
}

}  // namespace weir::cli
