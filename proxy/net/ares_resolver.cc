#include "proxy/net/ares_resolver.h"

#include <ares.h>
#include <netinet/in.h>
#include <sys/time.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace weir {
namespace {

class AresLookup;

// One of the channel's sockets. c-ares may close it while it is being processed, so it is freed only after the callback.
class QuerySocket final : private IoHandler {
 public:
  QuerySocket(AresLookup& lookup, EventLoop& loop, int descriptor)
      : lookup_(lookup), descriptor_(descriptor), watch_(loop.watch(descriptor, *this)) {}
  int descriptor() const { return descriptor_; }
  void want(bool readable, bool writable) { watch_->want(readable, writable); }
  void close() { watch_.reset(); descriptor_ = -1; }

 private:
  void on_readable() override;
  void on_writable() override;
  AresLookup& lookup_;
  int descriptor_;
  std::unique_ptr<IoWatch> watch_;
};

class AresLookup final : public NameLookup {
 public:
  AresLookup(EventLoop& loop, const AresOptions& options, const std::string& host, std::uint16_t port, NameHandler& handler)
      : loop_(loop),
        handler_(handler),
        timeout_(loop, Callback::to<&AresLookup::on_timeout>(this)),
        tell_(loop, Callback::to<&AresLookup::tell>(this)) {
    if (!open_channel(options)) return;
    ares_addrinfo_hints hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = ARES_AI_NOSORT;  // the balancer chooses; sorting would open sockets to every address
    ares_getaddrinfo(channel_, host.c_str(), std::to_string(port).c_str(), &hints, &AresLookup::on_answer, this);
    after_progress();
  }
  ~AresLookup() override {
    closing_ = true;   // ares_destroy answers what is pending; nobody listens any more
    sockets_.clear();  // before c-ares closes their descriptors
    if (channel_ != nullptr) ares_destroy(channel_);
  }
  AresLookup(const AresLookup&) = delete;
  AresLookup& operator=(const AresLookup&) = delete;

  void process(int readable, int writable) {
    ares_process_fd(channel_, readable < 0 ? ARES_SOCKET_BAD : readable, writable < 0 ? ARES_SOCKET_BAD : writable);
    after_progress();
  }

 private:
  bool open_channel(const AresOptions& options) {
    ares_options wanted{};
    wanted.timeout = static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(options.timeout).count());
    wanted.tries = options.tries;
    wanted.sock_state_cb = &AresLookup::on_socket_state;
    wanted.sock_state_cb_data = this;
    int status = ares_init_options(&channel_, &wanted, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status == ARES_SUCCESS && !options.servers.empty()) {
      status = ares_set_servers_ports_csv(channel_, options.servers.c_str());
    }
    if (status == ARES_SUCCESS) return true;
    answer_.error = ares_strerror(status);
    done_ = true;
    tell_.arm(Duration::zero());
    return false;
  }

  static void on_socket_state(void* self, ares_socket_t descriptor, int readable, int writable) {
    auto& lookup = *static_cast<AresLookup*>(self);
    if (lookup.closing_) return;
    const auto found = std::find_if(lookup.sockets_.begin(), lookup.sockets_.end(),
                                    [&](const auto& socket) { return socket->descriptor() == descriptor; });
    if (readable == 0 && writable == 0) {
      if (found != lookup.sockets_.end()) (*found)->close();
      return;
    }
    QuerySocket* socket = nullptr;
    if (found != lookup.sockets_.end()) {
      socket = found->get();
    } else {
      lookup.sockets_.push_back(std::make_unique<QuerySocket>(lookup, lookup.loop_, descriptor));
      socket = lookup.sockets_.back().get();
    }
    socket->want(readable != 0, writable != 0);
  }

  static void on_answer(void* self, int status, int /*timeouts*/, ares_addrinfo* result) {
    auto& lookup = *static_cast<AresLookup*>(self);
    if (!lookup.closing_) lookup.take_answer(status, result);
    if (result != nullptr) ares_freeaddrinfo(result);
  }

  void take_answer(int status, const ares_addrinfo* result) {
    done_ = true;
    int ttl = std::numeric_limits<int>::max();
    for (const ares_addrinfo_node* node = result == nullptr ? nullptr : result->nodes; node != nullptr; node = node->ai_next) {
      Address address = Address::from_sockaddr(node->ai_addr, node->ai_addrlen);
      if (address.family() == Address::Family::none) continue;
      ttl = std::min(ttl, std::max(node->ai_ttl, 0));
      const bool known = std::find(answer_.addresses.begin(), answer_.addresses.end(), address) != answer_.addresses.end();
      if (!known) answer_.addresses.push_back(std::move(address));
    }
    answer_.ok = status == ARES_SUCCESS && !answer_.addresses.empty();
    if (answer_.ok) answer_.ttl = std::chrono::seconds(ttl);
    else answer_.error = status == ARES_SUCCESS ? "no address in the answer" : ares_strerror(status);
  }

  void after_progress() {
    if (done_) {
      timeout_.disarm();
      if (!tell_.armed()) tell_.arm(Duration::zero());  // on the next turn: c-ares may be on the stack
      return;
    }
    timeval wait{};
    if (ares_timeout(channel_, nullptr, &wait) == nullptr) return;
    timeout_.arm(std::chrono::seconds(wait.tv_sec) + std::chrono::microseconds(wait.tv_usec) + std::chrono::milliseconds(1));
  }
  void on_timeout() { process(-1, -1); }
  void tell() { handler_.on_name(answer_); }  // last: the handler may drop this lookup

  EventLoop& loop_;
  NameHandler& handler_;
  ares_channel channel_ = nullptr;
  std::vector<std::unique_ptr<QuerySocket>> sockets_;
  Timer timeout_;
  Timer tell_;
  NameAnswer answer_;
  bool done_ = false;
  bool closing_ = false;
};

void QuerySocket::on_readable() { lookup_.process(descriptor_, -1); }
void QuerySocket::on_writable() { lookup_.process(-1, descriptor_); }

}  // namespace

AresResolver::AresResolver(EventLoop& loop, AresOptions options) : loop_(loop), options_(std::move(options)) {
  ares_library_init(ARES_LIB_INIT_ALL);
}

AresResolver::~AresResolver() { ares_library_cleanup(); }

std::unique_ptr<NameLookup> AresResolver::lookup(const std::string& host, std::uint16_t port, NameHandler& handler) {
  return std::make_unique<AresLookup>(loop_, options_, host, port, handler);
}

}  // namespace weir
