// weir reload: asks the running weir, over the admin listener that takes orders, to read its configuration again, and says what came of it.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "config/diagnostics.h"
#include "config/loader.h"
#include "proxy/base/text.h"
#include "proxy/cli/command_line.h"
#include "proxy/runtime/address.h"
#include "proxy/runtime/libevent_loop.h"

namespace weir::cli {
namespace {

constexpr int kTaken = 0, kRefused = 1, kNobody = 2;
constexpr std::size_t kMostAnswerBytes = std::size_t{4} * 1024 * 1024;

class Socket {
 public:
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  ~Socket() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

// Until it is ready or the time is up (ETIMEDOUT); 0: ready.
int wait_for(int descriptor, short events, MonotonicTime deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - monotonic_now());
    if (left.count() <= 0) return ETIMEDOUT;
    pollfd one{descriptor, events, 0};
    const int ready = poll(&one, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 1 << 30)));
    if (ready > 0) return 0;
    if (ready < 0 && errno != EINTR) return errno;
  }
}

int connect_to(int descriptor, const Address& to, MonotonicTime deadline) {
  if (connect(descriptor, to.data(), to.size()) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (const int error = wait_for(descriptor, POLLOUT, deadline); error != 0) return error;
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

int send_all(int descriptor, std::string_view text, MonotonicTime deadline) {
  while (!text.empty()) {
    const ssize_t sent = send(descriptor, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      text.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno != EAGAIN && errno != EINTR) return errno;
    if (const int error = wait_for(descriptor, POLLOUT, deadline); error != 0) return error;
  }
  return 0;
}

// To the end of the stream: the answer says Connection: close.
int read_all(int descriptor, std::string& into, MonotonicTime deadline) {
  char block[8192];
  while (into.size() <= kMostAnswerBytes) {
    const ssize_t got = recv(descriptor, block, sizeof block, 0);
    if (got == 0) return 0;
    if (got > 0) {
      into.append(block, static_cast<std::size_t>(got));
      continue;
    }
    if (errno != EAGAIN && errno != EINTR) return errno;
    if (const int error = wait_for(descriptor, POLLIN, deadline); error != 0) return error;
  }
  return EMSGSIZE;
}

struct Answer {
  int error = 0;   // of the connection
  int status = 0;  // 0: nobody who speaks HTTP
  std::string body;
};

Answer ask(const Address& admin, Duration timeout) {
  const MonotonicTime deadline = monotonic_now() + timeout;
  const Socket socket(::socket(admin.data()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  Answer answer;
  if (socket.get() < 0) {
    answer.error = errno;
    return answer;
  }
  const std::string request =
      "POST /reload HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  std::string text;
  answer.error = connect_to(socket.get(), admin, deadline);
  if (answer.error == 0) answer.error = send_all(socket.get(), request, deadline);
  if (answer.error == 0) answer.error = read_all(socket.get(), text, deadline);
  const std::size_t end = text.find("\r\n\r\n");
  if (answer.error != 0 || !text.starts_with("HTTP/1.1 ") || end == std::string::npos) return answer;
  const Result<std::int64_t> status = parse_integer(std::string_view(text).substr(9, 3));
  answer.status = status ? static_cast<int>(*status) : 0;
  answer.body = text.substr(end + 4);
  return answer;
}

// Where the file says that orders are taken. A file that is wrong elsewhere will do: what is wrong with it is the running weir's to say.
Result<std::string> address_in(const std::string& path) {
  config::HostSources sources;
  config::Files files;
  config::Diagnostics diagnostics;
  const Result<config::Value> root = config::load_tree(path, sources, files, diagnostics);
  if (!root) return Error{root.error().message};
  const config::Value::Member* admin = root->find("admin");
  const config::Value::Member* listen = admin == nullptr ? nullptr : admin->value.find("listen");
  if (listen != nullptr && listen->value.is(config::Value::Kind::scalar)) return listen->value.text;
  if (diagnostics.has_errors()) return Error{diagnostics.print(files), EINVAL};
  return Error{concat(path, " has no admin.listen: set it, or send SIGHUP")};
}

int complain(std::string_view what) {
  std::fprintf(stderr, "weir reload: %.*s\n", static_cast<int>(what.size()), what.data());
  return kNobody;
}

}  // namespace

int reload(const ReloadOptions& options) {
  std::string where = options.admin;
  if (where.empty()) {
    Result<std::string> found = address_in(options.config);
    if (!found) {
      const bool wrong = found.error().code == EINVAL;
      if (!wrong) return complain(found.error().message);
      std::fprintf(stderr, "weir reload: %s cannot be read as a configuration, so nobody was asked:\n%s", options.config.c_str(),
                   found.error().message.c_str());
      return kRefused;
    }
    where = std::move(found).value();
  }
  const Result<Address> admin = Address::parse(where);
  if (!admin) return complain(concat("the admin address ", where, ": ", admin.error().message));
  const Answer answer = ask(*admin, options.timeout);
  if (answer.error == ETIMEDOUT) return complain(concat("no answer from ", where, " within ", format_duration(options.timeout)));
  if (answer.error != 0) return complain(concat("no weir answers at ", where, ": ", std::strerror(answer.error)));
  if (answer.status == 200) {
    return print(answer.body, kTaken);
  }
  if (answer.status == 422) {
    std::fputs(answer.body.c_str(), stderr);
    return kRefused;
  }
  if (answer.status == 405 || answer.status == 403) return complain(concat("orders are not taken at ", where, ": it must be admin.listen"));
  if (answer.status == 0) return complain(concat(where, " gave no answer: it has ended, or is no weir"));
  return complain(concat("what answers at ", where, " is no weir: status ", answer.status));
}

}  // namespace weir::cli
