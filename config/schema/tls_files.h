// Reads the certificates, keys and authorities that a configuration names, and makes the TLS contexts of its listeners and services of them.
// The loader calls it, once the fields are read; what it makes belongs to the configuration, and the file watch sees what it has read.
// What is wrong is said where the file is named. It never keeps a text that it has read: private keys are among them.
#pragma once

#include "config/diagnostics.h"
#include "config/schema/sections.h"
#include "config/sources.h"
#include "config/value.h"

namespace weir {

// Of Debian; where there is none, a service that says tls without ca is an error.
inline constexpr const char* kSystemAuthorities = "/etc/ssl/certs/ca-certificates.crt";

void load_tls_files(const config::Value& root, config::Sources& sources, config::Files& files, config::Diagnostics& diagnostics,
                    ConfigDraft& draft);

// The name that a service's certificate is checked for where its `tls` gives none: its host without the port, else that of its dns:
// endpoints, when they have one in common.
std::string name_to_check(const ServiceConfig& service);

}  // namespace weir
