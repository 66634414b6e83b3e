#include "proxy/net/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace weir {
namespace {

Error system_error(const std::string& what, const Address& at, int code) {
  return Error{what + " " + std::string(at.text()) + ": " + std::strerror(code), code};
}

// A socket file on which nobody answers is left over from a process that died; one that answers is in use.
bool is_stale(const Address& at) {
  struct stat info {};
  const std::string path(at.host());
  if (stat(path.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode)) return false;
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return false;
  const bool refused = connect(probe, at.data(), at.size()) != 0 && errno == ECONNREFUSED;
  close(probe);
  return refused;
}

int bind_socket(int descriptor, const Address& at, unsigned mode) {
  if (at.family() != Address::Family::unix_path) {
    const int one = 1;
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (at.family() == Address::Family::ipv6) setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    return bind(descriptor, at.data(), at.size());
  }
  if (is_stale(at)) unlink(std::string(at.host()).c_str());
  // The file must never be open wider than `mode`, not even between bind and chmod.
  const mode_t before = mode == 0 ? 0 : umask(static_cast<mode_t>(0777 & ~mode));
  const int result = bind(descriptor, at.data(), at.size());
  const int code = errno;
  if (mode != 0) umask(before);
  errno = code;
  return result;
}

}  // namespace

Result<std::unique_ptr<ListenSocket>> ListenSocket::open(const Address& at, unsigned mode) {
  const int descriptor = socket(at.data()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return system_error("cannot make a socket for", at, errno);
  if (bind_socket(descriptor, at, mode) != 0) {
    const int code = errno;
    close(descriptor);
    return system_error("cannot bind", at, code);
  }
  if (listen(descriptor, SOMAXCONN) != 0) {
    const int code = errno;
    close(descriptor);
    return system_error("cannot listen on", at, code);
  }
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  Address bound = at;
  if (at.family() != Address::Family::unix_path &&
      getsockname(descriptor, reinterpret_cast<sockaddr*>(&storage), &size) == 0) {
    bound = Address::from_sockaddr(reinterpret_cast<sockaddr*>(&storage), size);
  }
  std::unique_ptr<ListenSocket> made(new ListenSocket(descriptor, std::move(bound)));
  made->unlink_ = at.family() == Address::Family::unix_path;
  return made;
}

Result<std::unique_ptr<ListenSocket>> ListenSocket::adopt(int descriptor) {
  int listening = 0;
  socklen_t size = sizeof listening;
  if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0) {
    return Error{"descriptor " + std::to_string(descriptor) + " is not a listening socket", errno};
  }
  fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
  sockaddr_storage storage{};
  size = sizeof storage;
  if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    return Error{std::string("getsockname: ") + std::strerror(errno), errno};
  }
  return std::unique_ptr<ListenSocket>(
      new ListenSocket(descriptor, Address::from_sockaddr(reinterpret_cast<sockaddr*>(&storage), size)));
}

ListenSocket::~ListenSocket() {
  if (unlink_) unlink(std::string(address_.host()).c_str());
  close(descriptor_);
}

Listener::Listener(EventLoop& loop, const ListenSocket& socket, AcceptHandler& handler, SocketOptions options)
    : loop_(loop), socket_(socket), handler_(handler), options_(options), resume_(loop, Callback::to<&Listener::resume>(this)) {
  resume();
}

void Listener::resume() {
  if (watch_ == nullptr) watch_ = loop_.watch(socket_.descriptor(), *this);
  watch_->want(true, false);
}

void Listener::pause() {
  pauses_.fetch_add(1, std::memory_order_relaxed);
  watch_->want(false, false);
  resume_.arm(kPause);
}

void Listener::on_readable() {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    const int descriptor =
        accept4(socket_.descriptor(), reinterpret_cast<sockaddr*>(&storage), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) {
      switch (errno) {
        case EAGAIN: return;  // another worker was faster, or none is left
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM: pause(); return;
        default: continue;  // that one connection failed already (ECONNABORTED and its kin): the next
      }
    }
    handler_.on_accept(std::make_unique<TcpStream>(
        loop_, descriptor, Address::from_sockaddr(reinterpret_cast<sockaddr*>(&storage), size), options_));
    if (watch_ == nullptr) return;  // stopped by the handler
  }
}

}  // namespace weir
