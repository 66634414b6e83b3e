// ServiceConnector: connects to one service's endpoints as its configuration says: in clear text, or secured by TLS.
// A worker's pool of the service owns one, and main's health checks another; it outlives the streams that it made.
// It never leaves out TLS where the configuration says it.
#pragma once

#include <memory>

#include "proxy/net/tls_connector.h"
#include "proxy/upstream/service_config.h"

namespace weir {

// Whether a connect failed for what this host lacks (descriptors, memory), which is not the endpoint's failure.
bool is_shortage(int error);

class ServiceConnector final : public Connector {
 public:
  ServiceConnector(EventLoop& loop, BufferPool& buffers, Connector& plain) : plain_(plain), tls_(loop, buffers, plain) {}

  // For connections from now on. Whether they are secured otherwise than those before.
  bool use(const ServiceConfig& config);
  std::unique_ptr<ByteStream> connect(const Address& to, ByteStreamHandler& handler) override;

 private:
  Connector& plain_;
  TlsConnector tls_;
  bool secured_ = false;
};

}  // namespace weir
