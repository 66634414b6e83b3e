#include "proxy/net/ares_resolver.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "proxy/base/check.h"
#include "proxy/net/srv_reply.h"

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
  void close() {
    watch_.reset();
    descriptor_ = -1;
  }

 private:
  void on_readable() override;
  void on_writable() override;
  AresLookup& lookup_;
  int descriptor_;
  std::unique_ptr<IoWatch> watch_;
};

LookupOutcome outcome_of(int status) {
  if (status == ARES_SUCCESS) return LookupOutcome::found;
  return status == ARES_ENOTFOUND || status == ARES_ENODATA ? LookupOutcome::absent : LookupOutcome::failed;
}

// What lookups of every kind share: a channel, its sockets and its clock. The kinds ask, and say what they found.
class AresLookup : public NameLookup {
 public:
  AresLookup(const AresLookup&) = delete;
  AresLookup& operator=(const AresLookup&) = delete;
  ~AresLookup() override { WEIR_CHECK(channel_ == nullptr); }

  void process(int readable, int writable) {
    ares_process_fd(channel_, readable < 0 ? ARES_SOCKET_BAD : readable, writable < 0 ? ARES_SOCKET_BAD : writable);
    after_progress();
  }

 protected:
  explicit AresLookup(EventLoop& loop)
      : loop_(loop), timeout_(loop, Callback::to<&AresLookup::on_timeout>(this)), tell_(loop, Callback::to<&AresLookup::on_tell>(this)) {}

  virtual bool done() const = 0;
  virtual void tell() = 0;  // last: the handler may drop this lookup

  // ARES_SUCCESS, or why there is no channel.
  int open_channel(const ResolverOptions& options) {
    ares_options wanted{};
    wanted.timeout = static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(options.timeout).count());
    wanted.tries = static_cast<int>(options.tries);
    wanted.udp_port = options.port;
    wanted.tcp_port = options.port;
    wanted.sock_state_cb = &AresLookup::on_socket_state;
    wanted.sock_state_cb_data = this;
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_UDP_PORT | ARES_OPT_TCP_PORT | ARES_OPT_SOCK_STATE_CB;
    std::string resolv_conf = options.resolv_conf;
    if (!resolv_conf.empty()) {
      wanted.resolvconf_path = resolv_conf.data();
      mask |= ARES_OPT_RESOLVCONF;
    }
    int status = ares_init_options(&channel_, &wanted, mask);
    if (status == ARES_SUCCESS && !options.servers.empty()) {
      std::string servers;
      for (const Address& server : options.servers) servers.append(servers.empty() ? "" : ",").append(server.text());
      status = ares_set_servers_ports_csv(channel_, servers.c_str());
    }
    return status;
  }

  // The end, from the destructor of each kind: whoever answers is there no more.
  void close_channel() {
    closing_ = true;   // ares_destroy answers what is pending; nobody listens any more
    sockets_.clear();  // before c-ares closes their descriptors
    if (channel_ != nullptr) ares_destroy(channel_);
    channel_ = nullptr;
  }

  ares_channel channel() const { return channel_; }
  bool closing() const { return closing_; }
  void tell_next_turn() {
    if (!tell_.armed()) tell_.arm(Duration::zero());  // c-ares may be on the stack
  }

  void after_progress() {
    timeout_.disarm();
    if (done()) return;
    timeval wait{};
    if (ares_timeout(channel_, nullptr, &wait) == nullptr) return;
    timeout_.arm(std::chrono::seconds(wait.tv_sec) + std::chrono::microseconds(wait.tv_usec) + std::chrono::milliseconds(1));
  }

 private:
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

  void on_timeout() { process(-1, -1); }
  void on_tell() { tell(); }

  EventLoop& loop_;
  ares_channel channel_ = nullptr;
  std::vector<std::unique_ptr<QuerySocket>> sockets_;
  Timer timeout_;
  Timer tell_;
  bool closing_ = false;
};

void QuerySocket::on_readable() { lookup_.process(descriptor_, -1); }
void QuerySocket::on_writable() { lookup_.process(-1, descriptor_); }

// The addresses of a host. The families are queries of their own: c-ares asked for both at once hides that one of them failed.
class HostLookup final : public AresLookup {
 public:
  HostLookup(EventLoop& loop, const ResolverOptions& options, const std::string& host, std::uint16_t port, AddressFamilies families,
             NameHandler& handler)
      : AresLookup(loop), handler_(handler) {
    queries_[0].answer.family = Address::Family::ipv4;
    queries_[1].answer.family = Address::Family::ipv6;
    for (Query& query : queries_) query.owner = this;
    queries_[0].done = queries_[0].told = families == AddressFamilies::ipv6;
    queries_[1].done = queries_[1].told = families == AddressFamilies::ipv4;
    const int status = open_channel(options);
    for (Query& query : queries_) {
      if (query.done) continue;
      if (status != ARES_SUCCESS) {
        take(query, status, nullptr);
      } else {
        ask(query, host, port);
      }
    }
    finish_what_hosts_knows();
    if (status == ARES_SUCCESS) after_progress();
  }
  ~HostLookup() override { close_channel(); }

 private:
  struct Query {
    HostLookup* owner = nullptr;
    NameAnswer answer;
    bool done = false;
    bool told = false;
  };

  void ask(Query& query, const std::string& host, std::uint16_t port) {
    ares_addrinfo_hints hints{};
    hints.ai_family = query.answer.family == Address::Family::ipv4 ? AF_INET : AF_INET6;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = ARES_AI_NOSORT;  // the balancer chooses; sorting would open sockets to every address
    ares_getaddrinfo(channel(), host.c_str(), std::to_string(port).c_str(), &hints, &HostLookup::on_answer, &query);
  }

  // Found before anything was sent: it is in /etc/hosts (or is an address); then what is not there of the other family is nowhere.
  void finish_what_hosts_knows() {
    const auto found = [](const Query& query) { return query.done && query.answer.outcome == LookupOutcome::found; };
    if (!found(queries_[0]) && !found(queries_[1])) return;
    for (Query& query : queries_) {
      if (!query.done) take(query, ARES_ENODATA, nullptr);
    }
  }

  static void on_answer(void* self, int status, int /*timeouts*/, ares_addrinfo* result) {
    auto& query = *static_cast<Query*>(self);
    if (!query.owner->closing() && !query.done) query.owner->take(query, status, result);
    if (result != nullptr) ares_freeaddrinfo(result);
  }

  void take(Query& query, int status, const ares_addrinfo* result) {
    query.done = true;
    NameAnswer& answer = query.answer;
    answer.outcome = outcome_of(status);
    int ttl = std::numeric_limits<int>::max();
    for (const ares_addrinfo_node* node = result == nullptr ? nullptr : result->nodes; node != nullptr; node = node->ai_next) {
      Address address = Address::from_sockaddr(node->ai_addr, node->ai_addrlen);
      if (address.family() != answer.family) continue;
      ttl = std::min(ttl, std::max(node->ai_ttl, 0));
      answer.addresses.push_back(std::move(address));
    }
    for (const ares_addrinfo_cname* alias = result == nullptr ? nullptr : result->cnames; alias != nullptr; alias = alias->next) {
      ttl = std::min(ttl, std::max(alias->ttl, 0));
    }
    if (answer.outcome == LookupOutcome::found && answer.addresses.empty()) answer.outcome = LookupOutcome::absent;
    if (answer.outcome == LookupOutcome::found) {
      answer.ttl = std::chrono::seconds(ttl);
    } else {
      answer.error = status == ARES_SUCCESS ? "no address in the answer" : ares_strerror(status);
    }
    tell_next_turn();
  }

  bool done() const override { return queries_[0].done && queries_[1].done; }

  void tell() override {
    const auto next = std::find_if(queries_.begin(), queries_.end(), [](const Query& query) { return query.done && !query.told; });
    if (next == queries_.end()) return;
    next->told = true;
    tell_next_turn();  // for the other one, if that is known too
    handler_.on_name(next->answer);
  }

  NameHandler& handler_;
  std::array<Query, 2> queries_;
};

class SrvLookup final : public AresLookup {
 public:
  SrvLookup(EventLoop& loop, const ResolverOptions& options, const std::string& name, SrvHandler& handler)
      : AresLookup(loop), handler_(handler) {
    const int status = open_channel(options);
    if (status == ARES_SUCCESS) {
      ares_search(channel(), name.c_str(), C_IN, T_SRV, &SrvLookup::on_answer, this);
      after_progress();
    } else {
      take(status, {});
    }
  }
  ~SrvLookup() override { close_channel(); }

 private:
  static void on_answer(void* self, int status, int /*timeouts*/, unsigned char* message, int length) {
    auto& lookup = *static_cast<SrvLookup*>(self);
    if (lookup.closing()) return;
    lookup.take(status, {message, status == ARES_SUCCESS && length > 0 ? static_cast<std::size_t>(length) : 0});
  }

  void take(int status, std::span<const std::uint8_t> message) {
    done_ = true;
    if (status == ARES_SUCCESS) {
      answer_ = read_srv_reply(message);
    } else {
      answer_.outcome = outcome_of(status);
      answer_.error = ares_strerror(status);
    }
    tell_next_turn();
  }

  bool done() const override { return done_; }
  void tell() override { handler_.on_srv(answer_); }

  SrvHandler& handler_;
  SrvAnswer answer_;
  bool done_ = false;
};

}  // namespace

AresResolver::AresResolver(EventLoop& loop) : loop_(loop) { ares_library_init(ARES_LIB_INIT_ALL); }

AresResolver::~AresResolver() { ares_library_cleanup(); }

std::unique_ptr<NameLookup> AresResolver::lookup(const std::string& host, std::uint16_t port, AddressFamilies families,
                                                 NameHandler& handler) {
  return std::make_unique<HostLookup>(loop_, options_, host, port, families, handler);
}

std::unique_ptr<NameLookup> AresResolver::lookup_srv(const std::string& name, SrvHandler& handler) {
  return std::make_unique<SrvLookup>(loop_, options_, name, handler);
}

}  // namespace weir
