#include "config/schema/tls_files.h"

#include <algorithm>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include "config/reader.h"
#include "proxy/base/text.h"
#include "proxy/net/tls_context.h"

namespace weir {
namespace {

using config::Place;
using config::Reader;
using config::Value;

std::string_view to_word(AlpnProtocol protocol) { return protocol == AlpnProtocol::h2 ? "h2" : "http/1.1"; }

// Of a plural key, whose one item may stand by itself.
std::span<const Value> items_of(const Value& value) {
  if (value.is(Value::Kind::list)) return value.items;
  return {&value, value.is(Value::Kind::map) ? 1U : 0U};
}

Place place_of(const Value& map, std::string_view key) {
  const Value::Member* member = map.find(key);
  return member == nullptr ? map.place : member->value.place;
}

class TlsLoader {
 public:
  TlsLoader(config::Sources& sources, config::Files& files, config::Diagnostics& diagnostics)
      : sources_(sources), reader_(diagnostics, {}, &files) {}

  void listener(ListenerConfig& listener, const Value& value) {
    const auto name = reader_.enter("tls");
    const Value& tls_value = value.find("tls")->value;
    ListenerTlsConfig& tls = *listener.tls;
    TlsServerSettings settings;
    settings.min_version = tls.min_version;
    for (const AlpnProtocol protocol : tls.alpn) settings.alpn.emplace_back(to_word(protocol));
    bool good = true;
    if (tls.certificates.empty()) {
      settings.identities.push_back(identity(tls.certificate, tls.key, tls_value));
    } else {
      const auto field = reader_.enter("certificates");
      const Value& list = tls_value.find("certificates")->value;
      for (std::size_t i = 0; i < tls.certificates.size(); ++i) {
        const auto item = reader_.enter(i);
        settings.identities.push_back(
            identity(tls.certificates[i].certificate, tls.certificates[i].key, i < list.items.size() ? list.items[i] : list));
      }
    }
    for (const auto& one : settings.identities) good = good && one != nullptr;
    if (tls.client) {
      const auto field = reader_.enter("client");
      settings.client_ca = trust(tls.client->ca, place_of(tls_value.find("client")->value, "ca"));
      settings.require_client = tls.client->require;
      settings.allow_names = tls.client->allow_names;
      good = good && settings.client_ca != nullptr;
    }
    if (!good) return;
    Result<std::shared_ptr<TlsServerContext>> made = TlsServerContext::make(std::move(settings), listener.name);
    if (!made) return reader_.error(tls_value.place, made.error().message);
    tls.context = std::move(made).value();
  }

  void service(ServiceConfig& service, const Value& value) {
    const auto name = reader_.enter("tls");
    const Value& tls_value = value.find("tls")->value;
    ServiceTlsConfig& tls = *service.tls;
    TlsClientSettings settings;
    settings.min_version = tls.min_version;
    settings.allow_names = tls.allow_names;
    settings.server_name = tls.server_name.empty() ? name_to_check(service) : tls.server_name;
    settings.alpn = "http/1.1";
    if (service.protocol == Protocol::http2) {
      settings.alpn = "h2";
      settings.alpn_required = true;
    }
    if (settings.server_name.empty() && settings.allow_names.empty() && !all_addresses(service)) {
      return reader_.error(tls_value.place,
                           "server_name or allow_names is missing: the endpoints have no one name that the certificate could be "
                           "checked for");
    }
    bool good = true;
    if (!tls.certificate.empty()) {
      settings.identity = identity(tls.certificate, tls.key, tls_value);
      good = settings.identity != nullptr;
    }
    if (tls.ca.empty()) {
      settings.ca = system_trust(tls_value.place);
    } else {
      settings.ca = trust(tls.ca, place_of(tls_value, "ca"));
    }
    if (!good || settings.ca == nullptr) return;
    Result<std::shared_ptr<const TlsClientContext>> made = TlsClientContext::make(std::move(settings));
    if (!made) return reader_.error(tls_value.place, made.error().message);
    tls.context = std::move(made).value();
  }

  void listeners(const Value& list, std::vector<ListenerConfig>& listeners_of) {
    const auto scope = reader_.enter("listeners");
    const std::span<const Value> items = items_of(list);
    for (std::size_t i = 0; i < listeners_of.size() && i < items.size(); ++i) {
      if (!listeners_of[i].tls || items[i].find("tls") == nullptr) continue;
      if (!list.is(Value::Kind::list)) return listener(listeners_of[i], items[i]);
      const auto item = reader_.enter(i);
      listener(listeners_of[i], items[i]);
    }
  }

  void services(const Value& map, std::map<std::string, ServiceConfig>& services_of) {
    const auto scope = reader_.enter("services");
    for (const Value::Member& member : map.members) {
      const auto found = services_of.find(member.key);
      if (found == services_of.end() || !found->second.tls || member.value.find("tls") == nullptr) continue;
      const auto item = reader_.enter(member.key);
      service(found->second, member.value);
    }
  }

 private:
  static bool all_addresses(const ServiceConfig& service) {
    return std::all_of(service.endpoints.begin(), service.endpoints.end(), [](const EndpointConfig& one) {
      return one.kind == EndpointConfig::Kind::file ||
             (one.kind == EndpointConfig::Kind::address && one.address.family() != Address::Family::unix_path);
    });
  }

  // Null with the reason told.
  std::shared_ptr<const TlsIdentity> identity(const std::string& certificate, const std::string& key, const Value& value) {
    const Result<std::string> certificate_text = sources_.read_file(certificate);
    Result<std::string> key_text = sources_.read_file(key);
    if (!certificate_text) unreadable("certificate", certificate, certificate_text.error(), place_of(value, "certificate"));
    if (!key_text) unreadable("key", key, key_text.error(), place_of(value, "key"));
    if (!certificate_text || !key_text) return nullptr;
    Result<std::shared_ptr<const TlsIdentity>> parsed = TlsIdentity::parse(*certificate_text, *key_text);
    wipe_secret(*key_text);
    if (parsed) return std::move(parsed).value();
    const bool of_key = parsed.error().code == static_cast<int>(TlsPart::key);
    const char* field = of_key ? "key" : "certificate";
    const auto scope = reader_.enter(field);
    reader_.error(place_of(value, field), concat(of_key ? key : certificate, ": ", parsed.error().message));
    return nullptr;
  }

  std::shared_ptr<const TlsTrust> trust(const std::string& path, Place place) {
    auto& known = trusted_[path];
    if (known != nullptr) return known;
    const Result<std::string> text = sources_.read_file(path);
    if (!text) {
      unreadable("ca", path, text.error(), place);
      return nullptr;
    }
    Result<std::shared_ptr<const TlsTrust>> parsed = TlsTrust::parse(*text);
    if (parsed) return known = std::move(parsed).value();
    const auto scope = reader_.enter("ca");
    reader_.error(place, concat(path, ": ", parsed.error().message));
    return nullptr;
  }

  std::shared_ptr<const TlsTrust> system_trust(Place place) {
    const std::string path = sources_.environment("SSL_CERT_FILE").value_or(kSystemAuthorities);
    auto& known = trusted_[path];
    if (known != nullptr) return known;
    const Result<std::string> text = sources_.read_file(path);
    Result<std::shared_ptr<const TlsTrust>> parsed = text ? TlsTrust::parse(*text) : Result<std::shared_ptr<const TlsTrust>>(text.error());
    if (parsed) return known = std::move(parsed).value();
    reader_.error(place, concat("ca is missing, and the system has no authorities: ", path, ": ", parsed.error().message));
    return nullptr;
  }

  void unreadable(const char* field, const std::string& path, const Error& error, Place place) {
    const auto scope = reader_.enter(field);
    reader_.error(place, concat("cannot read ", path, ": ", error.message));
  }

  config::Sources& sources_;
  Reader reader_;
  std::map<std::string, std::shared_ptr<const TlsTrust>> trusted_;  // by path: services share the system's authorities
};

}  // namespace

std::string name_to_check(const ServiceConfig& service) {
  if (!service.host.empty()) {  // without its port, and an IPv6 address without its brackets
    std::string_view host = service.host;
    if (host.front() == '[') return std::string(host.substr(1, host.find(']') - 1));
    return std::string(host.substr(0, host.find(':')));
  }
  std::string name;
  for (const EndpointConfig& endpoint : service.endpoints) {
    if (endpoint.kind != EndpointConfig::Kind::dns || (!name.empty() && name != endpoint.dns_host)) return {};
    name = endpoint.dns_host;
  }
  if (name.ends_with('.')) name.pop_back();  // "a.b." asks no search domains; certificates and SNI know no such dot (RFC 6066 3)
  return name;
}

void load_tls_files(const Value& root, config::Sources& sources, config::Files& files, config::Diagnostics& diagnostics,
                    ConfigDraft& draft) {
  TlsLoader loader(sources, files, diagnostics);
  // A list of which one could not be read has lost its order: the files are looked at when that is mended.
  const Value::Member* listeners = root.find("listeners");
  if (listeners != nullptr && items_of(listeners->value).size() == draft.listeners.size())
    loader.listeners(listeners->value, draft.listeners);
  const Value::Member* services = root.find("services");
  if (services != nullptr) loader.services(services->value, draft.services);
}

}  // namespace weir
