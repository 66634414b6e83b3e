#include "proxy/net/tcp_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace weir {
namespace {

void set_tcp_options(int descriptor, const SocketOptions& options) {
  // Failures are harmless: the connection works with the kernel's defaults.
  const int one = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (options.user_timeout > Duration::zero()) {
    const auto timeout = static_cast<unsigned>(std::chrono::ceil<std::chrono::milliseconds>(options.user_timeout).count());
    setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
  }
}

bool again(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

// A connection that failed before there was a socket, so that connect() always answers on a later turn.
class FailedStream final : public ByteStream {
 public:
  FailedStream(EventLoop& loop, const Address& to, ByteStreamHandler& handler, int error)
      : handler_(&handler), error_(error), peer_(to), tell_(loop, Callback::to<&FailedStream::tell>(this)) {
    tell_.arm(Duration::zero());
  }
  void set_handler(ByteStreamHandler* handler) override { handler_ = handler; }
  void want_read(bool) override {}
  void want_write(bool) override {}
  IoResult read(std::span<std::uint8_t>) override { return {IoResult::Status::error, 0, error_}; }
  IoResult write(std::span<const iovec>) override { return {IoResult::Status::error, 0, error_}; }
  void shutdown_write() override {}
  void reset() override {}
  const Address& local_address() const override { return local_; }
  const Address& peer_address() const override { return peer_; }

 private:
  void tell() {
    if (handler_ != nullptr) handler_->on_connected(error_);
  }
  ByteStreamHandler* handler_;
  int error_;
  Address peer_;
  Address local_;
  Timer tell_;
};

}  // namespace

TcpStream::TcpStream(EventLoop& loop, int descriptor, Address peer, const SocketOptions& options)
    : loop_(loop), descriptor_(descriptor), peer_(std::move(peer)) {
  if (peer_.family() != Address::Family::unix_path) set_tcp_options(descriptor_, options);
}

TcpStream::~TcpStream() {
  watch_.reset();  // before its descriptor goes
  if (descriptor_ >= 0) close(descriptor_);
}

void TcpStream::update() {
  const bool readable = want_read_ && !connecting_;
  const bool writable = want_write_ || connecting_;
  if (watch_ == nullptr) {
    if (!readable && !writable) return;
    watch_ = loop_.watch(descriptor_, *this);
  }
  watch_->want(readable, writable);
}

void TcpStream::want_read(bool wanted) {
  if (wanted == want_read_) return;
  want_read_ = wanted;
  update();
}

void TcpStream::want_write(bool wanted) {
  if (wanted == want_write_) return;
  want_write_ = wanted;
  update();
}

IoResult TcpStream::read(std::span<std::uint8_t> into) {
  for (;;) {
    const ssize_t n = recv(descriptor_, into.data(), into.size(), 0);
    if (n > 0) return {IoResult::Status::ok, static_cast<std::size_t>(n), 0};
    if (n == 0) return {IoResult::Status::end, 0, 0};
    if (errno == EINTR) continue;
    if (again(errno)) return {IoResult::Status::would_block, 0, 0};
    return {IoResult::Status::error, 0, errno};
  }
}

IoResult TcpStream::write(std::span<const iovec> from) {
  for (;;) {
    ssize_t n;
    if (from.size() == 1) {  // send is cheaper than sendmsg for the common single piece
      n = send(descriptor_, from[0].iov_base, from[0].iov_len, MSG_NOSIGNAL);
    } else {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(from.data());
      message.msg_iovlen = from.size();
      n = sendmsg(descriptor_, &message, MSG_NOSIGNAL);
    }
    if (n >= 0) return {IoResult::Status::ok, static_cast<std::size_t>(n), 0};
    if (errno == EINTR) continue;
    if (again(errno)) return {IoResult::Status::would_block, 0, 0};
    return {IoResult::Status::error, 0, errno};
  }
}

void TcpStream::shutdown_write() { shutdown(descriptor_, SHUT_WR); }

void TcpStream::reset() {
  const linger now{1, 0};  // close() then sends RST instead of FIN
  setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  watch_.reset();
  close(descriptor_);
  descriptor_ = -1;
  handler_ = nullptr;
}

const Address& TcpStream::local_address() const {
  static const Address unknown;
  if (!local_ && descriptor_ >= 0) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (getsockname(descriptor_, reinterpret_cast<sockaddr*>(&storage), &size) == 0) {
      local_ = std::make_unique<const Address>(Address::from_sockaddr(reinterpret_cast<sockaddr*>(&storage), size));
    }
  }
  return local_ ? *local_ : unknown;
}

void TcpStream::on_readable() {
  if (handler_ != nullptr) handler_->on_readable();
}

void TcpStream::on_writable() {
  if (!connecting_) {
    if (handler_ != nullptr) handler_->on_writable();
    return;
  }
  connecting_ = false;
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  update();
  if (handler_ != nullptr) handler_->on_connected(error);
}

std::unique_ptr<ByteStream> TcpConnector::connect(const Address& to, ByteStreamHandler& handler) {
  const int descriptor = socket(to.data()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return std::make_unique<FailedStream>(loop_, to, handler, errno);
  auto stream = std::make_unique<TcpStream>(loop_, descriptor, to, options_);
  stream->set_handler(&handler);
  // A unix socket connects at once, or says EAGAIN when the peer's backlog is full: a refusal, there is nothing to wait for.
  if (::connect(descriptor, to.data(), to.size()) != 0 && errno != EINPROGRESS) {
    return std::make_unique<FailedStream>(loop_, to, handler, errno);
  }
  stream->await_connect();
  return stream;
}

}  // namespace weir
