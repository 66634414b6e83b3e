#include "proxy/observe/access_log.h"

#include <cstdio>

namespace weir {
namespace {

const MetricFamily kLines{"weir_access_log_lines_total", "Access log lines handed to the log writer.", MetricKind::counter, {}};
const MetricFamily kTooLong{
    "weir_access_log_too_long_total", "Exchanges without an access log line because it found no room.", MetricKind::counter, {}};

constexpr std::size_t kMaxTries = 16;  // written a line; the rest are only counted
constexpr std::size_t kMaxDecisions = 32;

std::string_view protocol_name(HttpVersion version) {
  switch (version) {
    case HttpVersion::http10: return "HTTP/1.0";
    case HttpVersion::http11: return "HTTP/1.1";
    case HttpVersion::http2: return "HTTP/2";
  }
  return "";
}

// "main.yaml:63"; file names are the user's own, so they are escaped like anything else.
void write_place(JsonLine& line, const PolicyPlace& place) {
  char text[600];
  std::string_view file(place.file);
  file = file.substr(0, 512);
  std::memcpy(text, file.data(), file.size());
  text[file.size()] = ':';
  const auto end = std::to_chars(text + file.size() + 1, text + sizeof text, place.line);
  line.string(std::string_view(text, static_cast<std::size_t>(end.ptr - text)));
}

void write_identity(JsonLine& line, const LinkIdentity& by) {
  line.raw("\"filter\":");
  line.string(by.filter, 256);
  line.raw(",\"policy\":");
  line.string(by.policy, 256);
  if (by.place.file != nullptr) {
    line.raw(",\"at\":");
    write_place(line, by.place);
  }
}

void write_grpc_status(JsonLine& line, GrpcStatus status) {
  if (status == GrpcStatus::none) return;
  line.raw(",\"grpc_status\":\"");
  line.raw(grpc_status_name(status));
  line.raw('"');
}

void write_attempts(JsonLine& line, const ExchangeContext& exchange, MonotonicTime now) {
  line.raw(",\"attempts\":[");
  std::size_t written = 0;
  for (const AttemptRecord* one = exchange.first_attempt; one != nullptr && written < kMaxTries; one = one->next, ++written) {
    line.raw(written == 0 ? "{\"endpoint\":" : ",{\"endpoint\":");
    line.string(one->endpoint, 256);
    line.raw(",\"after_ms\":");
    line.milliseconds(one->started - exchange.started);
    const bool ended = one->ended != MonotonicTime{};
    line.raw(",\"ms\":");
    line.milliseconds((ended ? one->ended : now) - one->started);
    if (one->connected != MonotonicTime{}) {
      line.raw(",\"connected_ms\":");
      line.milliseconds(one->connected - one->started);
      line.raw(one->reused_connection ? ",\"reused\":true" : ",\"reused\":false");
    }
    if (one->response_at != MonotonicTime{}) {
      line.raw(",\"head_ms\":");
      line.milliseconds(one->response_at - one->started);
    }
    if (one->status != 0) {
      line.raw(",\"status\":");
      line.integer(one->status);
    }
    write_grpc_status(line, one->grpc_status);
    if (one->failure != FailureKind::none) {
      line.raw(",\"failure\":\"");
      line.raw(facts(one->failure).name);
      line.raw('"');
    } else if (!ended) {
      line.raw(",\"failure\":\"cancelled\"");
    }
    line.raw('}');
  }
  line.raw(']');
}

void write_decisions(JsonLine& line, const ExchangeContext& exchange) {
  if (exchange.decisions == nullptr) return;
  const DecisionRecord* oldest_first[kMaxDecisions];  // the list is newest first
  std::size_t count = 0;
  for (const DecisionRecord* one = exchange.decisions; one != nullptr && count < kMaxDecisions; one = one->next) {
    oldest_first[count++] = one;
  }
  line.raw(",\"decisions\":[");
  for (std::size_t i = count; i-- > 0;) {
    const DecisionRecord& one = *oldest_first[i];
    line.raw(i + 1 == count ? "{\"decision\":" : ",{\"decision\":");
    line.string(one.decision, 64);
    line.raw(",\"reason\":");
    line.string(one.reason, 64);
    line.raw(",\"after_ms\":");
    line.milliseconds(one.at - exchange.started);
    if (one.by != nullptr) {
      line.raw(',');
      write_identity(line, *one.by);
      line.raw(one.by->shadow ? ",\"mode\":\"shadow\"" : ",\"mode\":\"enforce\"");
    }
    line.raw('}');
  }
  line.raw(']');
}

void write_failure(JsonLine& line, const AccessRecord& record) {
  if (record.failure == FailureKind::none) return;
  const FailureFacts& known = facts(record.failure);
  line.raw(",\"failure\":\"");
  line.raw(known.name);
  line.raw("\",\"flag\":\"");
  line.raw(known.flag);
  line.raw('"');
  if (!record.detail.empty()) {
    line.raw(",\"detail\":");
    line.string(record.detail, 512);
  }
  if (record.decided_by != nullptr) {
    line.raw(",\"decided_by\":{");
    write_identity(line, *record.decided_by);
    line.raw('}');
  }
}

void write_tls(JsonLine& line, const TlsInfo& tls) {
  line.raw(",\"tls\":{\"version\":\"");
  line.raw(tls.version);
  line.raw("\",\"alpn\":");
  line.string(tls.alpn, 16);
  line.raw(",\"server_name\":");
  line.string(tls.server_name, 256);
  line.raw(tls.resumed ? ",\"resumed\":true" : ",\"resumed\":false");
  if (tls.peer_verified) {
    line.raw(",\"client\":");
    line.string(tls.peer_identity(), 256);
  }
  line.raw('}');
}

void write_named(JsonLine& line, std::string_view key, std::string_view value, std::size_t limit = 256) {
  line.raw(key);
  line.string(value, limit);
}

}  // namespace

bool AccessLogRules::wants(int status, Duration duration, bool was_decided, std::uint64_t id_hash) const {
  if (decided && was_decided) return true;
  if (slower_than && duration > *slower_than) return true;
  for (const auto& [first, last] : statuses) {
    if (status >= first && status <= last) return true;
  }
  if (sample >= 1.0) return true;
  // Not the bits that ramps use, else a sample would show only one side of a ramp.
  const std::uint64_t mixed = (id_hash ^ 0x6c6f67U) * 0x9e3779b97f4a7c15U;
  return static_cast<double>(mixed >> 11) * 0x1.0p-53 < sample;
}

AccessLog::AccessLog(EventLoop& loop, LogSink& sink, MetricsShard& metrics)
    : loop_(loop),
      sink_(sink),
      block_(std::make_unique<char[]>(kBlock)),
      flush_timer_(loop, Callback::to<&AccessLog::flush>(this)),
      lines_(metrics.counter(kLines, {})),
      too_long_(metrics.counter(kTooLong, {})) {}

void AccessLog::flush() {
  flush_timer_.disarm();
  if (used_ == 0) return;
  const std::string_view lines(block_.get(), used_);
  used_ = 0;
  sink_.write(lines);
}

void AccessLog::record(const ExchangeContext& exchange, const AccessRecord& record) {
  // Rules are written in HTTP's words, and a gRPC call that failed has the status 200.
  const int status = record.grpc_status > GrpcStatus::ok ? http_status_of_grpc(record.grpc_status) : record.status;
  if (!rules_.wants(status, record.duration, exchange.decided, exchange.id_hash)) return;
  if (!append(exchange, record)) {
    flush();
    if (!append(exchange, record)) {  // longer than a whole block
      too_long_.add();
      return;
    }
  }
  lines_.add();
  if (!flush_timer_.armed()) flush_timer_.arm(kFlushAfter);
}

void AccessLog::write_time(JsonLine& line, WallTime at) {
  const std::int64_t nanos = at.time_since_epoch().count();
  const std::int64_t second = nanos / 1'000'000'000;
  if (second != second_) {
    second_ = second;
    using namespace std::chrono;
    const sys_days day = floor<days>(sys_seconds(std::chrono::seconds(second)));
    const year_month_day date(day);
    const auto of_day = static_cast<unsigned>(second - day.time_since_epoch().count() * 86400);
    char text[32];
    std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02u:%02u:%02u", static_cast<int>(date.year()) % 10000,
                  static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), of_day / 3600 % 24, of_day / 60 % 60,
                  of_day % 60);
    std::memcpy(date_, text, sizeof date_ - 1);
  }
  const auto millis = static_cast<unsigned>(nanos / 1'000'000 % 1000);
  const char rest[] = {
      '.', static_cast<char>('0' + millis / 100), static_cast<char>('0' + millis / 10 % 10), static_cast<char>('0' + millis % 10), 'Z',
      '"'};
  line.raw("{\"time\":\"");
  line.raw(std::string_view(date_, sizeof date_ - 1));
  line.raw(std::string_view(rest, sizeof rest));
}

bool AccessLog::append(const ExchangeContext& exchange, const AccessRecord& record) {
  JsonLine line(block_.get() + used_, block_.get() + kBlock);
  const MonotonicTime now = loop_.now();
  write_time(line, loop_.wall_now() - (now - exchange.started));
  write_named(line, ",\"id\":", exchange.request_id);
  write_named(line, ",\"listener\":", exchange.listener);
  write_named(line, ",\"route\":", exchange.route);
  write_named(line, ",\"service\":", exchange.service);
  write_named(line, ",\"policy\":", record.policy);
  write_named(line, ",\"method\":", exchange.head.method_text, 64);
  write_named(line, ",\"authority\":", record.authority);
  write_named(line, ",\"path\":", record.target, 2048);
  line.raw(",\"protocol\":\"");
  line.raw(protocol_name(exchange.head.version));
  line.raw("\",\"client\":");
  line.string(record.client, 128);
  if (exchange.tls != nullptr) write_tls(line, *exchange.tls);
  line.raw(",\"status\":");
  line.integer(record.status);
  write_grpc_status(line, record.grpc_status);
  line.raw(",\"bytes_received\":");
  line.integer(record.bytes_received);
  line.raw(",\"bytes_sent\":");
  line.integer(record.bytes_sent);
  line.raw(",\"duration_ms\":");
  line.milliseconds(record.duration);
  line.raw(",\"upstream_ms\":");
  line.milliseconds(exchange.upstream_time);
  write_failure(line, record);
  write_attempts(line, exchange, now);
  write_decisions(line, exchange);
  line.raw("}\n");
  if (!line.fits()) return false;
  used_ += line.size();
  return true;
}

}  // namespace weir
