// WorkerServices: one worker's side of all services: for each an innermost link with its pools of connections.
// The worker owns it; it is used on the worker's thread only (it may be made before that thread runs), and is destroyed after the
// worker's exchanges are gone. The directory outlives it.
// It never shares a connection with another worker.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/chain/link.h"
#include "proxy/runtime/byte_stream.h"
#include "proxy/runtime/worker_context.h"
#include "proxy/upstream/directory.h"
#include "proxy/upstream/pool.h"

namespace weir {

class UpstreamLink;

class WorkerServices {
 public:
  WorkerServices(WorkerContext& worker, Connector& connector, ServiceDirectory& directory, const ClientMakers& makers = {});
  ~WorkerServices();
  WorkerServices(const WorkerServices&) = delete;
  WorkerServices& operator=(const WorkerServices&) = delete;

  // The innermost link of a service that the directory knows (CHECK); made on first use, valid as long as this object.
  Link& link(std::string_view service);

  // From now on connections close as soon as they are idle (drain). Requests still work.
  void drain();
  std::size_t connections() const;

 private:
  WorkerContext& worker_;
  Connector& connector_;
  ServiceDirectory& directory_;
  const ClientMakers makers_;
  bool draining_ = false;
  std::map<std::string, std::unique_ptr<UpstreamLink>, std::less<>> links_;
};

}  // namespace weir
