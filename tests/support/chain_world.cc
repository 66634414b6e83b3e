#include "tests/support/chain_world.h"

#include <algorithm>

#include "proxy/base/check.h"

namespace weir::test {
namespace {

std::vector<std::pair<std::string, std::string>> copied(const Headers* fields) {
  std::vector<std::pair<std::string, std::string>> out;
  if (fields == nullptr) return out;
  for (const HeaderField& field : *fields) out.emplace_back(field.name, field.value);
  return out;
}

}  // namespace

double ChainWorld::metric(std::string_view family, const std::vector<std::string>& labels) const {
  double sum = 0;
  for (const auto& snapshot : registry.collect()) {
    if (snapshot.name != family) continue;
    for (const auto& sample : snapshot.samples) {
      const bool all = std::all_of(labels.begin(), labels.end(), [&](const std::string& wanted) {
        for (std::size_t i = 0; i < sample.labels.size(); ++i) {
          if (wanted == snapshot.label_names[i] + "=" + sample.labels[i]) return true;
        }
        return false;
      });
      if (all) sum += sample.value;
    }
  }
  return sum;
}

TestUpload::TestUpload(ChainWorld& world, Arena& arena, std::int64_t expected) : ends_(BodyPipe::make(arena, world.loop, world.buffers)) {
  ends_.writer.set_source(this);
  ends_.reader.pipe()->set_expected_length(expected);
}

TestExchange::TestExchange(ChainWorld& world, std::string_view method, std::string_view target)
    : world_(world), arena_(world.arenas.open()), head_(arena_.make<RequestHead>(arena_)) {
  head_->method_text = arena_.copy(method);
  head_->method = method_of(head_->method_text);
  head_->authority = "service.test";
  head_->target = arena_.copy(target);
  context_ = std::make_unique<ExchangeContext>(world.worker, arena_, *head_);
  context_->started = world.loop.now();
  context_->service = "service";
}

TestExchange::~TestExchange() {
  call_.reset();
  reader_.drop();
  upload_.reset();
  world_.loop.run_ready();  // the graveyard lets go of the arena, which borrows the context
  arena_.release();
}

void TestExchange::make_grpc(std::string_view timeout) {
  head_->method_text = "POST";
  head_->method = Method::post;
  head_->headers.add("content-type", "application/grpc+proto");
  if (!timeout.empty()) head_->headers.add("grpc-timeout", timeout);
  context_->read_grpc();
}

TestUpload& TestExchange::add_upload(std::int64_t expected) {
  head_->has_body = true;
  head_->content_length = expected;
  upload_ = std::make_unique<TestUpload>(world_, arena_, expected);
  return *upload_;
}

void TestExchange::start(Link& link, RequestKind kind) {
  Request request;
  request.kind = kind;
  start(link, std::move(request));
}

void TestExchange::start(Link& link, Request&& request) {
  request.exchange = context_.get();
  request.head = request.kind == RequestKind::http ? head_ : nullptr;
  if (upload_) request.body = upload_->take_reader();
  in_start_ = true;
  call_ = link.start(std::move(request), *this);
  in_start_ = false;
  WEIR_CHECK(call_ != nullptr);
}

void TestExchange::read_on() {
  reading_ = true;
  if (reader_) reader_.resume();
}

std::vector<std::string> TestExchange::decisions() const {
  std::vector<std::string> words;
  for (const DecisionRecord* d = context_->decisions; d != nullptr; d = d->next) {
    words.push_back(std::string(d->decision) + "/" + std::string(d->reason));
  }
  std::reverse(words.begin(), words.end());
  return words;
}

void TestExchange::on_informational(const ResponseHead& head) {
  WEIR_CHECK(!in_start_ && status == 0 && !told());
  informational.push_back(head.status);
}

void TestExchange::on_response(Response&& response) {
  WEIR_CHECK(!in_start_ && status == 0 && !told());
  status = response.head == nullptr ? -1 : response.head->status;
  endpoint = response.endpoint;
  if (response.head != nullptr) {
    for (const HeaderField& field : response.head->headers) headers.emplace_back(field.name, field.value);
  }
  if (response.body) {
    reader_ = std::move(response.body);
    reader_.set_sink(this);
  }
  if (drop_on_response_) call_.reset();
}

void TestExchange::on_end(const End& end) {
  WEIR_CHECK(!in_start_ && status != 0 && !told());
  ended = true;
  if (end.failure != nullptr) end_failure = end.failure->kind;
  end_trailers = copied(end.trailers);
  told_at = world_.loop.now();
  if (!keep_after_end_) call_.reset();
}

void TestExchange::on_failure(const Failure& told_failure) {
  WEIR_CHECK(!in_start_ && status == 0 && !told());
  failure = told_failure;
  told_at = world_.loop.now();
  if (!keep_after_end_) call_.reset();
}

std::size_t TestExchange::on_body(ByteView bytes) {
  if (!reading_) return 0;
  body += as_text(bytes);
  return bytes.size();
}

void TestExchange::on_body_end(const Headers* told) {
  body_ended = true;
  trailers = copied(told);
}
void TestExchange::on_body_abort(BodyAbort reason) { body_abort = reason; }

FilterFixture::FilterFixture(ChainWorld& w, std::string_view kind, bool shadow)
    : world(w), identity{"service", "policy", kind, kind, "route", {"main.yaml", 7}, shadow}, decisions(identity, &w.worker.metrics) {
  spec.name = std::string(kind);
  spec.mode = shadow ? FilterMode::shadow : FilterMode::enforce;
  spec.place = identity.place;
}

}  // namespace weir::test
