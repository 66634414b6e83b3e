#include "proxy/upstream/service_connector.h"

#include <cerrno>

#include "proxy/base/check.h"

namespace weir {

bool is_shortage(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

bool ServiceConnector::use(const ServiceConfig& config) {
  const bool was_secured = std::exchange(secured_, config.tls.has_value());
  if (!secured_) return was_secured;
  const std::shared_ptr<const TlsClientContext>& context = config.tls->context;
  CHECK(context != nullptr);  // the loader makes it, or refuses the configuration
  // A reload makes all contexts anew: where nothing is different, the sessions of the one before are worth more.
  if (tls_.context() != nullptr && tls_.context()->fingerprint() == context->fingerprint()) return !was_secured;
  tls_.use(context);
  return true;
}

std::unique_ptr<ByteStream> ServiceConnector::connect(const Address& to, ByteStreamHandler& handler) {
  return secured_ ? tls_.connect(to, handler) : plain_.connect(to, handler);
}

}  // namespace weir
