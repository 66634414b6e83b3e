#include "config/schema/endpoint_file.h"

#include <set>

#include "config/reader.h"
#include "config/schema/types.h"
#include "config/yaml_tree.h"
#include "proxy/base/text.h"
#include "proxy/upstream/discovery_source.h"

namespace weir {
namespace {

using config::Diagnostics;
using config::Files;
using config::Place;
using config::Reader;
using config::Value;

constexpr std::string_view kFile = "file:";

// What an endpoint in a tree is written as: itself, or its `address`.
const Value* text_of(const Value& endpoint) {
  const Value* value = &endpoint;
  if (endpoint.is(Value::Kind::map)) {
    const Value::Member* address = endpoint.find("address");
    if (address == nullptr) return nullptr;
    value = &address->value;
  }
  return value->is(Value::Kind::scalar) ? value : nullptr;
}

std::vector<EndpointConfig> parse(std::string_view text, const std::string& path, Files& files, Diagnostics& diagnostics) {
  const std::uint16_t file = files.add(path);
  const Value root = config::parse_yaml(text, file, diagnostics);
  Reader reader(diagnostics, {}, &files);
  std::vector<EndpointConfig> endpoints;
  if (root.is(Value::Kind::invalid)) return endpoints;
  if (root.is(Value::Kind::null)) {  // as while somebody is writing it
    reader.error(Place{1, 1, file}, "the file is empty; expected a list of endpoints, or [] for none");
    return endpoints;
  }
  if (!reader.expect(root, Value::Kind::list, "a list of endpoints")) return endpoints;
  (void)config::list_of(endpoint(), 0, kMostEndpoints).read(root, reader, endpoints);
  for (std::size_t i = 0; i < root.items.size(); ++i) {
    const Value* text_value = text_of(root.items[i]);
    if (text_value == nullptr || !text_value->text.starts_with(kFile)) continue;
    const auto scope = reader.enter(i);
    reader.error(text_value->place, "a file of endpoints names no further files");
  }
  return endpoints;
}

class Check {
 public:
  Check(config::Sources& sources, Files& files, Diagnostics& diagnostics)
      : sources_(sources), files_(files), diagnostics_(diagnostics), reader_(diagnostics, {}, &files) {}

  void services(const Value& services) {
    const auto scope = reader_.enter("services");
    for (const Value::Member& service : services.members) {
      const Value::Member* endpoints = service.value.find("endpoints");
      if (endpoints == nullptr) continue;
      const auto name = reader_.enter(service.key);
      const auto field = reader_.enter("endpoints");
      if (!endpoints->value.is(Value::Kind::list)) one(endpoints->value);
      for (std::size_t i = 0; i < endpoints->value.items.size(); ++i) {
        const auto item = reader_.enter(i);
        one(endpoints->value.items[i]);
      }
    }
  }

 private:
  void one(const Value& endpoint) {
    const Value* value = text_of(endpoint);
    if (value == nullptr || !value->text.starts_with("file:/")) return;
    const std::string path = value->text.substr(kFile.size());
    if (!read_.insert(path).second) return;  // said already
    if (files_.size() >= Files::kMost) return reader_.error(value->place, "too many files");
    const Result<std::string> text = sources_.read_file(path);
    if (!text) return reader_.error(value->place, concat("cannot read ", path, ": ", text.error().message));
    (void)parse(*text, path, files_, diagnostics_);
  }

  config::Sources& sources_;
  Files& files_;
  Diagnostics& diagnostics_;
  Reader reader_;
  std::set<std::string> read_;
};

}  // namespace

Result<std::vector<EndpointConfig>> read_endpoint_file(const std::string& path, config::Sources& sources) {
  const Result<std::string> text = sources.read_file(path);
  if (!text) return Error{concat("cannot be read: ", text.error().message), text.error().code};
  Files files;
  Diagnostics diagnostics;
  std::vector<EndpointConfig> endpoints = parse(*text, path, files, diagnostics);
  if (!diagnostics.has_errors()) return endpoints;
  for (const config::Diagnostic& one : diagnostics.sorted()) {
    if (one.severity != config::Diagnostic::Severity::error) continue;
    return Error{concat(files.print(one.place), ": ", one.path, one.path.empty() ? "" : ": ", one.message)};
  }
  return Error{"is broken"};
}

void check_endpoint_files(const Value& root, config::Sources& sources, Files& files, Diagnostics& diagnostics) {
  const Value::Member* services = root.find("services");
  if (services == nullptr || !services->value.is(Value::Kind::map)) return;
  Check(sources, files, diagnostics).services(services->value);
}

}  // namespace weir
