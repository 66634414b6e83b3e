#include "proxy/net/listener.h"

#include <fcntl.h>
#include <linux/filter.h>
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
  if (at.family() != Address::Family::unix_path && getsockname(descriptor, reinterpret_cast<sockaddr*>(&storage), &size) == 0) {
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
  std::unique_ptr<ListenSocket> made(new ListenSocket(descriptor, Address::from_sockaddr(reinterpret_cast<sockaddr*>(&storage), size)));
  made->adopted_ = true;
  return made;
}

// A listening socket that is closed resets what its queue holds, and there is no call that only stops the queue from growing. But a filter
// that lets no SYN through does: it is as if lost, while whoever sent one before completes the handshake.
void ListenSocket::close_to_new() {
  if (adopted_) return;
  if (unlink_) {
    unlink(std::string(address_.host()).c_str());
    unlink_ = false;
    return;
  }
  constexpr std::uint32_t kFlags = 13, kSyn = 0x02;  // the offset in the TCP header, which the filter sees first; and the bit
  sock_filter no_syn[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kFlags), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kSyn, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 0xffffffff)};
  const sock_fprog program{4, no_syn};
  setsockopt(descriptor_, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);  // where it fails, what comes this instant is reset
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

void Listener::accept_waiting() {
  if (watch_ != nullptr) accept_some(kWaitingMax);
}

void Listener::accept_some(int most) {
  for (int i = 0; i < most; ++i) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    const int descriptor = accept4(socket_.descriptor(), reinterpret_cast<sockaddr*>(&storage), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
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
    handler_.on_accept(
        std::make_unique<TcpStream>(loop_, descriptor, Address::from_sockaddr(reinterpret_cast<sockaddr*>(&storage), size), options_));
    if (watch_ == nullptr) return;  // stopped by the handler
  }
}

}  // namespace weir
