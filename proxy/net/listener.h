// ListenSocket: a bound, listening socket, made by main and shared by all workers' loops; Listener: one worker's accepting on it.
// main owns the ListenSocket, which outlives every Listener on it; a Listener is a member of its worker. Closing one socket of several with
// SO_REUSEPORT resets queued connections, so there is one per listener.
// When descriptors run out, accepting pauses for a moment instead of spinning, and resumes by itself.
#pragma once

#include <atomic>
#include <memory>

#include "proxy/base/result.h"
#include "proxy/net/tcp_stream.h"
#include "proxy/runtime/byte_stream.h"
#include "proxy/runtime/event_loop.h"

namespace weir {

class ListenSocket {
 public:
  // Binds and listens. A stale unix socket file that nobody answers on is replaced; `mode` is that file's, 0 leaves the umask's.
  static Result<std::unique_ptr<ListenSocket>> open(const Address& at, unsigned mode = 0);
  // Takes a listening descriptor over (handed down by systemd).
  static Result<std::unique_ptr<ListenSocket>> adopt(int descriptor);
  ~ListenSocket();
  ListenSocket(const ListenSocket&) = delete;
  ListenSocket& operator=(const ListenSocket&) = delete;

  // From now on nobody new dials in (who is halfway does), so that the queue can be emptied and the socket closed without resetting anyone:
  // whoever tries meanwhile is refused once it is closed. A socket that was handed down is left alone: its owner goes on with it.
  void close_to_new();

  int descriptor() const { return descriptor_; }
  const Address& address() const { return address_; }  // with the port that the kernel chose for port 0

 private:
  ListenSocket(int descriptor, Address address) : descriptor_(descriptor), address_(std::move(address)) {}
  int descriptor_;
  Address address_;
  bool unlink_ = false;
  bool adopted_ = false;
};

class Listener final : private IoHandler {
 public:
  static constexpr int kAcceptsPerTurn = 16;    // then the other descriptors have their turn
  static constexpr int kWaitingMax = 2 * 4096;  // of accept_waiting(): what a queue holds at most, and as much again
  static constexpr Duration kPause = std::chrono::milliseconds(100);

  Listener(EventLoop& loop, const ListenSocket& socket, AcceptHandler& handler, SocketOptions options = {});
  void stop() {
    watch_.reset();
    resume_.disarm();
  }  // accepts nothing more; the socket stays main's
  // Accepts whatever waits, for the last moment before it stops. The handler must not drop this listener meanwhile.
  void accept_waiting();
  // How often accepting paused because the process or the host had no descriptor or memory left; any thread.
  std::uint64_t pauses() const { return pauses_.load(std::memory_order_relaxed); }

 private:
  void on_readable() override { accept_some(kAcceptsPerTurn); }
  void on_writable() override {}
  void accept_some(int most);
  void resume();
  void pause();

  EventLoop& loop_;
  const ListenSocket& socket_;
  AcceptHandler& handler_;
  SocketOptions options_;
  std::unique_ptr<IoWatch> watch_;
  Timer resume_;
  std::atomic<std::uint64_t> pauses_{0};
};

}  // namespace weir
