#include "proxy/server/real_platform.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <utility>

#include "proxy/base/text.h"

namespace weir {
namespace {

class RealAcceptor final : public Acceptor {
 public:
  RealAcceptor(EventLoop& loop, const ListenSocket& socket, AcceptHandler& handler) : listener_(loop, socket, handler) {}
  std::uint64_t pauses() const override { return listener_.pauses(); }
  void accept_waiting() override { listener_.accept_waiting(); }

 private:
  Listener listener_;
};

class RealListener final : public SharedListener {
 public:
  explicit RealListener(std::unique_ptr<ListenSocket> socket) : socket_(std::move(socket)) {}
  const Address& address() const override { return socket_->address(); }
  void close_to_new() override { socket_->close_to_new(); }
  std::unique_ptr<Acceptor> accept_on(EventLoop& loop, AcceptHandler& handler) override {
    return std::make_unique<RealAcceptor>(loop, *socket_, handler);
  }

 private:
  std::unique_ptr<ListenSocket> socket_;
};

// The server's hold on a log writer. The last to let go may be a worker, which must not wait for a disk: the platform ends the writer.
class RealLogSink final : public LogSink {
 public:
  explicit RealLogSink(std::shared_ptr<LogWriter> writer) : writer_(std::move(writer)) {}
  ~RealLogSink() override { writer_->retire(); }
  void write(std::string_view lines) override { writer_->write(lines); }

 private:
  std::shared_ptr<LogWriter> writer_;
};

void add(const LogWriter::Counts& counts, LogWriter::Counts& sum) {
  sum.dropped_lines += counts.dropped_lines;
  sum.write_errors += counts.write_errors;
  sum.written_bytes += counts.written_bytes;
}

}  // namespace

RealPlatform::RealPlatform(const RealPlatformOptions& options, std::function<void(int)> on_signal)
    : main_(make_libevent_loop()),
      main_connector_(*main_),
      log_(
          stderr_, [] { return weir::wall_now(); }, parse_log_level(options.log_level).value_or(LogLevel::info), options.json_log),
      handed_down_(take_systemd_sockets()) {
  raise_open_file_limit();
  std::signal(SIGPIPE, SIG_IGN);  // a peer that goes while bytes are spliced to it, and a log's reader that goes, are errors like others
  main_->on_signals({SIGTERM, SIGINT, SIGHUP}, std::move(on_signal));
  resolver_ = std::make_unique<AresResolver>(*main_);
  files_ = std::make_unique<InotifyWatcher>(*main_);
  const std::size_t count = options.workers != 0 ? options.workers : probe_.automatic_workers();
  for (std::size_t i = 0; i < count; ++i) {
    auto worker = std::make_unique<WorkerThread>();
    worker->loop = make_libevent_loop();
    worker->connector = std::make_unique<TcpConnector>(*worker->loop);
    worker->thread = std::thread([loop = worker->loop.get()] { loop->run(); });
    workers_.push_back(std::move(worker));
  }
}

RealPlatform::~RealPlatform() {
  stop_workers();
  for (const auto& [name, descriptors] : handed_down_) {  // those that no listener asked for
    for (const int descriptor : descriptors) close(descriptor);
  }
}

void RealPlatform::stop_workers() {
  for (const auto& worker : workers_) {
    if (!worker->thread.joinable()) continue;
    worker->loop->post([loop = worker->loop.get()] { loop->stop(); });
    worker->thread.join();
  }
}

Result<std::unique_ptr<SharedListener>> RealPlatform::listen(const ListenRequest& request) {
  const auto handed = handed_down_.find(request.name);
  Result<std::unique_ptr<ListenSocket>> opened = Error{};
  if (handed != handed_down_.end() && !handed->second.empty()) {
    opened = ListenSocket::adopt(handed->second.back());
    if (opened) handed->second.pop_back();
  } else {
    opened = ListenSocket::open(request.address, request.mode);
  }
  if (!opened) return opened.error();
  return std::unique_ptr<SharedListener>(std::make_unique<RealListener>(std::move(opened).value()));
}

Result<std::unique_ptr<LogSink>> RealPlatform::open_log(const std::string& path) {
  Result<std::unique_ptr<LogWriter>> opened = LogWriter::open(path);
  if (!opened) return opened.error();
  const std::shared_ptr<LogWriter> writer = std::move(opened).value();
  forget_ended_logs();
  writers_.push_back(writer);
  return std::unique_ptr<LogSink>(std::make_unique<RealLogSink>(writer));
}

void RealPlatform::reopen_logs() {
  for (const auto& writer : writers_) writer->reopen();
}

void RealPlatform::forget_ended_logs() {
  std::erase_if(writers_, [this](const std::shared_ptr<LogWriter>& writer) {
    if (!writer->ended()) return false;
    writer->stop(Duration::zero());
    add(writer->counts(), ended_logs_);
    return true;
  });
}

// A single long-lived object above a burst's blocks keeps all of them resident: malloc gives back by itself only what lies at the
// end of a heap. Workers do not wait for this, unless they allocate at that very moment, which no exchange does in steady state.
void RealPlatform::give_memory_back() { malloc_trim(0); }

LogWriter::Counts RealPlatform::log_counts() const {
  LogWriter::Counts sum = ended_logs_;
  for (const auto& writer : writers_) add(writer->counts(), sum);
  return sum;
}

}  // namespace weir
