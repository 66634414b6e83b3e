#include "proxy/upstream/health_probe.h"

#include <algorithm>

#include "proxy/upstream/grpc_health.h"
#include "proxy/upstream/service_connector.h"

namespace weir {

HealthProbe::HealthProbe(WorkerContext& main, Connector& connector, const Address& endpoint, const HealthCheckConfig& config,
                         Protocol protocol, Owner& owner)
    : main_(main), owner_(owner), protocol_(protocol), config_(config), timeout_(main.loop, Callback::to<&HealthProbe::on_timeout>(this)) {
  timeout_.arm(config_.timeout);
  stream_ = connector.connect(endpoint, *this);
}

HealthProbe::~HealthProbe() = default;

void HealthProbe::on_connected(int error) {
  if (over_) return;
  if (is_shortage(error)) return end(CheckResult::none);  // nobody was asked
  const bool insecure = error == kTlsProtocolError || error == kTlsCertificateError;
  if (error != 0) return end(insecure ? CheckResult::tls_failure : CheckResult::connect_failure);
  if (config_.tcp) return end(CheckResult::passed);
  ask();
}

void HealthProbe::ask() {
  const TlsInfo* tls = stream_->tls();
  const std::string server_name = tls == nullptr ? std::string() : tls->server_name;
  const bool secured = tls != nullptr;
  ClientConnectionOptions options;
  options.limits.header_bytes = kMaxHead;
  options.max_drain = kMaxBody;
  if (secured) options.scheme = "https";
  const auto make = protocol_ == Protocol::http2 ? &make_h2_client : &make_h1_client;
  client_ = make(main_, std::move(stream_), *this, options);
  Arena& arena = main_.arenas.open();
  arena_ = ArenaHold(arena);
  arena.release();
  auto* head = arena.make<RequestHead>(arena);
  head->scheme = secured ? "https" : "http";
  const std::string& host = config_.grpc ? config_.grpc->host : config_.http->host;
  head->authority = arena.copy(host.empty() ? server_name : host);  // empty: the codec names the peer
  head->headers.add("user-agent", "weir-health-check");
  config_.grpc ? ask_grpc(arena, *head) : ask_http(arena, *head);
}

void HealthProbe::ask_http(Arena& arena, RequestHead& head) {
  head.method = Method::get;
  head.method_text = "GET";
  head.target = arena.copy(config_.http->path);
  request_ = client_->open(arena, head, {}, {}, *this);
}

void HealthProbe::ask_grpc(Arena& arena, RequestHead& head) {
  head.method = Method::post;
  head.method_text = "POST";
  head.target = kGrpcHealthPath;
  head.headers.add_view("te", "trailers", HeaderId::te);
  head.headers.add_view("content-type", kGrpcContentType, HeaderId::content_type);
  head.headers.add_view(kGrpcTimeoutField, arena.copy(GrpcTimeoutText(config_.timeout).text()), HeaderId::grpc_timeout);
  const std::string message = grpc_health_request(config_.grpc->service);
  head.has_body = true;
  head.content_length = static_cast<std::int64_t>(message.size());
  request_ = client_->open(arena, head, {}, body_of(arena, message), *this);
}

BodyPipe::Reader HealthProbe::body_of(Arena& arena, std::string_view text) {
  BodyPipe::Ends ends = BodyPipe::make(arena, main_.loop, main_.buffers);
  ends.reader.pipe()->set_expected_length(static_cast<std::int64_t>(text.size()));
  ends.writer.write(as_bytes(text));
  ends.writer.finish();
  return std::move(ends.reader);
}

// The body of an HTTP answer is dropped here: the codec reads the rest away, up to kMaxBody.
void HealthProbe::on_response(ResponseHead& head, BodyPipe::Reader body) {
  status_ = head.status;
  if (!config_.grpc) {
    verdict_ = expected(head.status) ? CheckResult::passed : CheckResult::wrong_status;
    return;
  }
  const GrpcStatus status = grpc_status_at_head(head);
  if (head.status != 200 && !head.headers.has(HeaderId::grpc_status)) {
    verdict_ = CheckResult::wrong_status;  // whoever answered does not speak gRPC
  } else if (status > GrpcStatus::ok) {
    status_ = static_cast<int>(status);
    verdict_ = grpc_verdict(status);
  } else if (body) {
    answer_ = std::move(body);
    answer_.set_sink(this);
  } else {
    verdict_ = CheckResult::bad_answer;
  }
}

// While the answer's message is awaited, its own end tells: the last bytes may reach us after this.
void HealthProbe::on_end(const Headers* /*trailers*/) {
  if (!answer_) end(verdict_);
}

std::size_t HealthProbe::on_body(ByteView bytes) {
  if (message_.size() + bytes.size() > kMaxBody) {
    end(CheckResult::bad_answer);
  } else {
    message_ += as_text(bytes);
  }
  return bytes.size();
}

void HealthProbe::on_body_end(const Headers* trailers) {
  const GrpcStatus status = grpc_status_at_end(trailers);
  if (status > GrpcStatus::ok) status_ = static_cast<int>(status);
  end(grpc_verdict(status));
}

CheckResult HealthProbe::grpc_verdict(GrpcStatus status) const {
  switch (status) {
    case GrpcStatus::ok: break;
    case GrpcStatus::not_found: return CheckResult::not_serving;
    case GrpcStatus::unimplemented: return CheckResult::not_implemented;
    case GrpcStatus::deadline_exceeded: return CheckResult::timeout;
    default: return CheckResult::wrong_grpc_status;
  }
  const auto serving = parse_grpc_health_reply(message_);
  if (!serving) return CheckResult::bad_answer;
  return *serving == ServingStatus::serving ? CheckResult::passed : CheckResult::not_serving;
}

void HealthProbe::on_failure(const ClientFailure& failure) {
  if (verdict_ != CheckResult::none) return end(verdict_);  // the status is known: the rest of the answer matters to nobody
  const bool bad = failure.error == ClientError::protocol_error || failure.error == ClientError::head_too_large;
  end(bad ? CheckResult::bad_answer : CheckResult::broken);
}

void HealthProbe::on_timeout() { end(verdict_ != CheckResult::none ? verdict_ : CheckResult::timeout); }

bool HealthProbe::expected(int status) const {
  const auto& ranges = config_.http->expected_statuses;
  return std::any_of(ranges.begin(), ranges.end(), [status](const auto& range) { return range.first <= status && status <= range.second; });
}

void HealthProbe::end(CheckResult result) {
  if (std::exchange(over_, true)) return;
  timeout_.disarm();
  owner_.on_check(result, status_);
}

}  // namespace weir
