#include "tests/support/sim_platform.h"

#include <algorithm>
#include <functional>

namespace weir::test {
namespace {

// Tells what it was made with after a millisecond.
class TableLookup : public NameLookup {
 public:
  TableLookup(SimLoop& loop, std::vector<std::function<void()>> tell)
      : tell_(std::move(tell)), timer_(loop, Callback::to<&TableLookup::tell>(this)) {
    timer_.arm(1ms);
  }

 private:
  void tell() {  // one a turn: its listener may drop this
    const auto next = tell_[next_++];
    if (next_ < tell_.size()) timer_.arm(Duration(0));
    next();
  }
  std::vector<std::function<void()>> tell_;
  std::size_t next_ = 0;
  Timer timer_;
};

class SimAcceptor : public Acceptor {
 public:
  SimAcceptor(SimNet& net, SimLoop& loop, Address at, AcceptHandler& handler) : net_(net), at_(std::move(at)), handler_(handler) {
    net_.listen(loop, at_, handler_);
  }
  ~SimAcceptor() override { net_.stop_listening(at_, handler_); }
  std::uint64_t pauses() const override { return 0; }
  void accept_waiting() override {}  // no queue: who connects is accepted at once

 private:
  SimNet& net_;
  Address at_;
  AcceptHandler& handler_;
};

class SimListener : public SharedListener {
 public:
  SimListener(SimNet& net, Address at) : net_(net), at_(std::move(at)) {}
  const Address& address() const override { return at_; }
  std::unique_ptr<Acceptor> accept_on(EventLoop& loop, AcceptHandler& handler) override {
    return std::make_unique<SimAcceptor>(net_, static_cast<SimLoop&>(loop), at_, handler);
  }

 private:
  SimNet& net_;
  Address at_;
};

}  // namespace

std::unique_ptr<NameLookup> TableResolver::lookup(const std::string& host, std::uint16_t port, AddressFamilies families,
                                                  NameHandler& handler) {
  ++lookups;
  std::vector<std::function<void()>> tell;
  for (const auto family : {Address::Family::ipv4, Address::Family::ipv6}) {
    const bool six = family == Address::Family::ipv6;
    if (families == (six ? AddressFamilies::ipv4 : AddressFamilies::ipv6)) continue;
    NameAnswer answer;
    answer.family = family;
    answer.ttl = ttl;
    const auto found = table.find(host);
    for (const std::string& ip : found == table.end() ? std::vector<std::string>() : found->second) {
      if ((ip.find(':') != std::string::npos) != six) continue;
      answer.addresses.push_back(Address::parse((six ? "[" + ip + "]:" : ip + ":") + std::to_string(port)).value());
    }
    answer.outcome = answer.addresses.empty() ? LookupOutcome::absent : LookupOutcome::found;
    if (answer.addresses.empty()) answer.error = "no such name";
    if (!failing.empty()) {
      answer.outcome = LookupOutcome::failed;
      answer.addresses.clear();
      answer.error = failing;
    }
    tell.push_back([&handler, answer] { handler.on_name(answer); });
  }
  return std::make_unique<TableLookup>(loop_, std::move(tell));
}

std::unique_ptr<NameLookup> TableResolver::lookup_srv(const std::string& name, SrvHandler& handler) {
  ++lookups;
  SrvAnswer answer;
  answer.ttl = ttl;
  const auto found = srv.find(name);
  answer.outcome = found == srv.end() ? LookupOutcome::absent : LookupOutcome::found;
  if (found != srv.end()) answer.targets = found->second;
  if (found == srv.end()) answer.error = "no such name";
  if (!failing.empty()) {
    answer.outcome = LookupOutcome::failed;
    answer.error = failing;
  }
  std::vector<std::function<void()>> tell = {[&handler, answer] { handler.on_srv(answer); }};
  return std::make_unique<TableLookup>(loop_, std::move(tell));
}

SimPlatform::SimPlatform(SimWorld& world, std::size_t workers)
    : world_(world), main_(world.add_loop()), net(main_), names(main_), files(main_) {
  for (std::size_t i = 0; i < workers; ++i) loops_.push_back(&world.add_loop());
}

Result<std::unique_ptr<SharedListener>> SimPlatform::listen(const ListenRequest& request) {
  const std::string text(request.address.text());
  if (std::find(taken_addresses.begin(), taken_addresses.end(), text) != taken_addresses.end()) {
    return Error{"cannot listen on " + text + ": address in use", 98};
  }
  return std::unique_ptr<SharedListener>(std::make_unique<SimListener>(net, request.address));
}

Result<std::unique_ptr<LogSink>> SimPlatform::open_log(const std::string& path) {
  return std::unique_ptr<LogSink>(std::make_unique<MemoryLog>(logs[path]));
}

}  // namespace weir::test
