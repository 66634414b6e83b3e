#include "tests/support/sim_platform.h"

#include <algorithm>

namespace weir::test {
namespace {

class TableLookup : public NameLookup {
 public:
  TableLookup(SimLoop& loop, NameHandler& handler, NameAnswer answer)
      : handler_(handler), answer_(std::move(answer)), timer_(loop, Callback::to<&TableLookup::tell>(this)) {
    timer_.arm(1ms);
  }

 private:
  void tell() { handler_.on_name(answer_); }
  NameHandler& handler_;
  NameAnswer answer_;
  Timer timer_;
};

class SimAcceptor : public Acceptor {
 public:
  SimAcceptor(SimNet& net, SimLoop& loop, Address at, AcceptHandler& handler) : net_(net), at_(std::move(at)), handler_(handler) {
    net_.listen(loop, at_, handler_);
  }
  ~SimAcceptor() override { net_.stop_listening(at_, handler_); }
  std::uint64_t pauses() const override { return 0; }

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

std::unique_ptr<NameLookup> TableResolver::lookup(const std::string& host, std::uint16_t port, NameHandler& handler) {
  ++lookups;
  NameAnswer answer;
  const auto found = table.find(host);
  if (found == table.end()) {
    answer.error = "no such name";
  } else {
    answer.ok = true;
    answer.ttl = ttl;
    for (const std::string& ip : found->second) {
      answer.addresses.push_back(Address::parse(ip + ":" + std::to_string(port)).value());
    }
  }
  return std::make_unique<TableLookup>(loop_, handler, std::move(answer));
}

SimPlatform::SimPlatform(SimWorld& world, std::size_t workers)
    : world_(world), main_(world.add_loop()), net(main_), names(main_) {
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
