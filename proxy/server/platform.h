// Platform: the world that a Server stands in: loops, connectors, listening sockets, names, logs, the supervisor.
// Two of them: real_platform.h (threads, libevent, sockets) and the tests' simulated one; its owner makes it first and drops it last.
// It knows nothing of configuration, routes or HTTP.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/log.h"
#include "proxy/base/log_sink.h"
#include "proxy/base/result.h"
#include "proxy/runtime/byte_stream.h"
#include "proxy/runtime/event_loop.h"
#include "proxy/runtime/file_watch.h"
#include "proxy/runtime/name_resolver.h"
#include "proxy/runtime/splice_pipe.h"

namespace weir {

// One worker's accepting on a shared socket; dropping it stops it. Used on that worker's thread.
class Acceptor {
 public:
  virtual ~Acceptor() = default;
  virtual std::uint64_t pauses() const = 0;  // how often descriptors had run out
  // Takes what stands in the socket's queue now, for the last moment before it is dropped: closing the socket would reset it.
  virtual void accept_waiting() = 0;
};

// A bound, listening socket: main's, shared by all workers. Outlives its acceptors.
class SharedListener {
 public:
  virtual ~SharedListener() = default;
  virtual const Address& address() const = 0;
  virtual void close_to_new() {}  // nobody new gets into the queue: the last acceptor empties it, and then it is closed
  virtual std::unique_ptr<Acceptor> accept_on(EventLoop& loop, AcceptHandler& handler) = 0;
};

struct ListenRequest {
  std::string name;  // a socket handed down by the supervisor under this name is taken instead
  Address address;
  unsigned mode = 0;  // of a unix socket's file; 0: the umask's
};

// How near the host's limits are, in thousandths; 0: not known.
struct PressureReading {
  std::uint32_t cpu = 0, memory = 0, open_files = 0;
};

// What the service manager is told (sd_notify); a fake in tests, a no-op where there is none.
class Supervisor {
 public:
  virtual ~Supervisor() = default;
  virtual void ready(std::string_view status) = 0;
  virtual void reloading() = 0;
  virtual void stopping() = 0;
  virtual void watchdog() = 0;                     // all is well
  virtual Duration watchdog_interval() const = 0;  // how often it wants to hear that; 0: never
};

class Platform {
 public:
  virtual ~Platform() = default;
  virtual EventLoop& main_loop() = 0;
  virtual std::size_t workers() const = 0;
  virtual EventLoop& worker_loop(std::size_t worker) = 0;
  virtual Connector& connector(std::size_t worker) = 0;
  virtual Connector& main_connector() = 0;  // whose streams live on main's loop
  virtual NameResolver& resolver() = 0;
  virtual FileWatcher& file_watcher() = 0;  // on main's loop
  virtual std::uint64_t seed() = 0;         // another one each time
  virtual Result<std::unique_ptr<SharedListener>> listen(const ListenRequest& request) = 0;
  virtual Result<std::unique_ptr<LogSink>> open_log(const std::string& path) = 0;
  virtual SplicePipeMaker splice_pipes() { return make_kernel_pipe; }
  virtual PressureReading pressure() = 0;  // since the last call
  virtual void give_memory_back() {}       // what was freed and is still resident: once in a while, when a burst may be over
  virtual Supervisor& supervisor() = 0;
  virtual Log& log() = 0;  // the daemon's own
};

}  // namespace weir
