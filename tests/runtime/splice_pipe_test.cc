// Pipes of the kernel between real sockets, and the pool that lends them.
#include "proxy/runtime/splice_pipe.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>

#include "tests/support/stub_stream.h"

using namespace weir;

namespace {

// A connected pair; `near` is the stream under test, `far` the other end.
class PairStream final : public test::StubStream {
 public:
  PairStream() {
    std::signal(SIGPIPE, SIG_IGN);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd_) == 0);
  }
  explicit PairStream(int descriptor) : fd_{descriptor, -1} { REQUIRE(descriptor >= 0); }
  ~PairStream() override {
    close(fd_[0]);
    close_far();
  }
  int descriptor() const override { return has_descriptor ? fd_[0] : -1; }

  void send(const std::string& text) { REQUIRE(::write(fd_[1], text.data(), text.size()) == static_cast<ssize_t>(text.size())); }
  std::string received() {
    std::string text(1'000'000, 0);
    const ssize_t n = ::read(fd_[1], text.data(), text.size());
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    return text;
  }
  void close_far() {
    if (fd_[1] >= 0) close(fd_[1]);
    fd_[1] = -1;
  }
  bool has_descriptor = true;

 private:
  int fd_[2];
};

int made = 0;
std::unique_ptr<SplicePipe> make_none() {
  ++made;
  return nullptr;
}

}  // namespace

TEST_CASE("a pipe passes bytes from socket to socket in order, as many as were asked for") {
  PairStream from;
  PairStream to;
  const auto pipe = make_kernel_pipe();
  REQUIRE(pipe != nullptr);
  from.send("hello world");
  CHECK(pipe->fill(from, 5).bytes == 5);
  CHECK(pipe->size() == 5);
  CHECK(pipe->drain(to).bytes == 5);
  CHECK(pipe->size() == 0);
  CHECK(pipe->fill(from, 100).bytes == 6);
  CHECK(pipe->drain(to).ok());
  CHECK(to.received() == "hello world");
  CHECK(pipe->fill(from, 100).status == IoResult::Status::would_block);
  from.close_far();
  CHECK(pipe->fill(from, 100).status == IoResult::Status::end);
}

TEST_CASE("what a full socket does not take stays in the pipe and leaves later") {
  PairStream from;
  PairStream to;
  const auto pipe = make_kernel_pipe();
  std::string sent;
  std::string got;
  int held = 0;
  for (int i = 0; i < 60; ++i) {
    const std::string part(20'000, static_cast<char>('a' + i % 26));
    from.send(part);
    sent += part;
    while (pipe->fill(from, SplicePipe::kSize).ok()) {
      while (pipe->size() > 0) {
        const IoResult result = pipe->drain(to);
        CHECK(result.status != IoResult::Status::error);
        if (pipe->size() == 0) break;
        ++held;
        if (!result.ok()) CHECK(result.status == IoResult::Status::would_block);
        got += to.received();
      }
    }
  }
  for (std::string more = to.received(); !more.empty(); more = to.received()) got += more;
  CHECK(held > 0);
  CHECK(got == sent);
}

TEST_CASE("a peer that is gone is an error of the drain, and no signal") {
  PairStream from;
  PairStream to;
  const auto pipe = make_kernel_pipe();
  from.send("lost");
  CHECK(pipe->fill(from, 4).ok());
  to.close_far();
  const IoResult result = pipe->drain(to);
  CHECK(result.status == IoResult::Status::error);
  CHECK(result.error == EPIPE);
}

TEST_CASE("a reset is an error of the fill, which the kernel tells once") {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(listen(listener, 1) == 0);
  REQUIRE(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  const int far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(connect(far, reinterpret_cast<sockaddr*>(&address), size) == 0);
  PairStream near(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  const linger now{1, 0};
  REQUIRE(setsockopt(far, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
  close(far);
  close(listener);
  const IoResult result = make_kernel_pipe()->fill(near, 100);
  CHECK(result.status == IoResult::Status::error);
  CHECK(result.error == ECONNRESET);
}

TEST_CASE("the pool lends so many and no more, and keeps only empty ones") {
  PairStream from;
  PairStream to;
  SplicePipes pipes;
  std::vector<std::unique_ptr<SplicePipe>> lent;
  for (std::size_t i = 0; i < SplicePipes::kMost; ++i) lent.push_back(pipes.take(from, to));
  for (const auto& pipe : lent) REQUIRE(pipe != nullptr);
  CHECK(pipes.take(from, to) == nullptr);
  from.send("secret");
  CHECK(lent.back()->fill(from, 6).ok());
  pipes.give_back(std::move(lent.back()));  // its bytes are gone with it
  lent.pop_back();
  CHECK(pipes.lent() == SplicePipes::kMost - 1);
  const auto next = pipes.take(from, to);
  REQUIRE(next != nullptr);
  CHECK(next->size() == 0);
  CHECK(next->drain(to).status == IoResult::Status::ok);
  CHECK(to.received().empty());
}

TEST_CASE("free pipes are kept open until they are trimmed") {
  PairStream from;
  PairStream to;
  const auto open = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); };
  const auto before = open();
  SplicePipes pipes;
  std::vector<std::unique_ptr<SplicePipe>> lent;
  for (std::size_t i = 0; i < SplicePipes::kKept + 3; ++i) lent.push_back(pipes.take(from, to));
  for (auto& pipe : lent) pipes.give_back(std::move(pipe));
  CHECK(open() == before + static_cast<std::ptrdiff_t>(2 * SplicePipes::kKept));
  pipes.trim();
  CHECK(open() == before);
}

TEST_CASE("a stream without a descriptor, or a kernel without pipes, is no error") {
  PairStream from;
  PairStream to;
  SplicePipes pipes;
  to.has_descriptor = false;
  CHECK(pipes.take(from, to) == nullptr);
  CHECK(pipes.take(to, from) == nullptr);
  SplicePipes none(make_none);
  for (int i = 0; i < SplicePipes::kPatience; ++i) CHECK(none.take(from, from) == nullptr);
  CHECK(made == 1);  // not asked again at once
  CHECK(none.take(from, from) == nullptr);
  CHECK(made == 2);
  CHECK(none.lent() == 0);
}
