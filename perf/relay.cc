// relay: copies bytes between a client and an upstream connection and does nothing else: the floor that perf/compare measures against.
// One thread, level-triggered epoll, one shared 256 KiB buffer, one upstream connection a client.
// It is a yardstick, not a part of weir: it has no timeouts and trusts both sides.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

struct Side {
  int fd = -1;
  Side* peer = nullptr;
  std::string waiting;  // bytes for this side that its socket did not take
  bool reading = true;
  bool dead = false;
};

int poller = -1;
std::vector<char> buffer(256 * 1024);
std::vector<Side*> graveyard;

void watch(Side* side, int operation) {
  epoll_event event{};
  event.events = (side->reading ? static_cast<unsigned>(EPOLLIN) : 0U) | (side->waiting.empty() ? 0U : static_cast<unsigned>(EPOLLOUT));
  event.data.ptr = side;
  epoll_ctl(poller, operation, side->fd, &event);
}

void end(Side* side) {
  for (Side* s : {side, side->peer}) {
    if (s->dead) continue;
    s->dead = true;
    close(s->fd);
    graveyard.push_back(s);
  }
}

void pump(Side* from) {
  Side* to = from->peer;
  const ssize_t n = recv(from->fd, buffer.data(), buffer.size(), 0);
  if (n <= 0) {
    if (n == 0 || errno != EAGAIN) end(from);
    return;
  }
  ssize_t sent = to->waiting.empty() ? send(to->fd, buffer.data(), static_cast<size_t>(n), MSG_NOSIGNAL) : 0;
  if (sent < 0) {
    if (errno != EAGAIN && errno != ENOTCONN) return end(from);
    sent = 0;
  }
  if (sent == n) return;
  const bool was_empty = to->waiting.empty();
  to->waiting.append(buffer.data() + sent, static_cast<size_t>(n - sent));
  if (was_empty) {
    watch(to, EPOLL_CTL_MOD);
    from->reading = false;
    watch(from, EPOLL_CTL_MOD);
  }
}

void drain(Side* to) {
  if (to->waiting.empty()) return;
  const ssize_t sent = send(to->fd, to->waiting.data(), to->waiting.size(), MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno != EAGAIN) end(to);
    return;
  }
  to->waiting.erase(0, static_cast<size_t>(sent));
  if (!to->waiting.empty()) return;
  watch(to, EPOLL_CTL_MOD);
  to->peer->reading = true;
  watch(to->peer, EPOLL_CTL_MOD);
}

void accept_one(int listener, const sockaddr_in& upstream) {
  const int client = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (client < 0) return;
  const int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  connect(server, reinterpret_cast<const sockaddr*>(&upstream), sizeof upstream);
  auto* a = new Side{};
  auto* b = new Side{};
  a->fd = client;
  b->fd = server;
  a->peer = b;
  b->peer = a;
  watch(a, EPOLL_CTL_ADD);
  watch(b, EPOLL_CTL_ADD);
}

sockaddr_in loopback(const char* port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: relay LISTEN_PORT UPSTREAM_PORT\n"), 2;
  const sockaddr_in at = loopback(argv[1]);
  const sockaddr_in upstream = loopback(argv[2]);
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 || listen(listener, 4096) != 0) {
    return std::perror("relay"), 1;
  }
  poller = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  epoll_event events[256];
  for (;;) {
    const int ready = epoll_wait(poller, events, 256, -1);
    for (int i = 0; i < ready; ++i) {
      auto* side = static_cast<Side*>(events[i].data.ptr);
      if (side == nullptr) {
        accept_one(listener, upstream);
        continue;
      }
      if (!side->dead && (events[i].events & EPOLLOUT) != 0) drain(side);
      if (!side->dead && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) pump(side);
    }
    for (Side* side : graveyard) delete side;
    graveyard.clear();
  }
}
