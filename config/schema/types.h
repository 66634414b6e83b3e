// Types of configuration values that belong to no filter: addresses, endpoints, shares, status ranges, match
// blocks. Constants for the sections of this folder. They check form only: whether a name exists is the
// loader's business.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/section.h"
#include "proxy/message/match.h"
#include "proxy/net/tls_context.h"
#include "proxy/runtime/address.h"
#include "proxy/upstream/service_config.h"

namespace weir {

config::Type<Address> listen_address();    // ip:port, where port 0 lets the kernel choose, or unix:/path
config::Type<Address> private_address();   // the same, but unix:/path or loopback only
config::Type<std::string> file_path();     // begins with a slash
config::Type<std::string> allowed_name();  // of a certificate: TlsAllowedNames
config::Type<std::string> server_name();   // a DNS name without *, or an IP address
config::Type<TlsVersion> tls_version();
config::Type<Address> name_server();  // ip:port
// ip:port, unix:/path, dns:host:port, srv:name, file:/path, or { address:, weight: }
config::Type<EndpointConfig> endpoint();
config::Type<double> share();                                    // 0% to 100%
config::Type<double> per_second();                               // 10/s, 1/m
config::Type<std::vector<std::pair<int, int>>> status_ranges();  // 503, 500-503, 5xx
config::Type<FilterMode> filter_mode();
config::Type<std::string> edited_header_name();  // one that a route may set or remove

const config::Section<Matcher>& matcher_section();

// As the rest of weir names a place: the file's name lives as long as the configuration.
PolicyPlace policy_place(const config::Reader& reader, config::Place place);

}  // namespace weir
