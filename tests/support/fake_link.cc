#include "tests/support/fake_link.h"

#include "proxy/base/check.h"

namespace weir::test {

class FakeCall final : public Call, private BodySink {
 public:
  FakeCall(ExchangeContext& exchange, Caller& caller, FakeLink& link, FakeAnswer answer, Request&& request)
      : Call(exchange, caller),
        link_(link),
        index_(link.seen.size()),
        answer_(std::move(answer)),
        body_(std::move(request.body)),
        timer_(exchange.loop(), Callback::to<&FakeCall::on_timer>(this)) {
    FakeLink::Seen seen;
    seen.attempt = request.attempt;
    seen.at = exchange.now();
    seen.deadline = request.deadline;
    if (request.pick.tried != nullptr) seen.tried.assign(request.pick.tried->ids().begin(), request.pick.tried->ids().end());
    link.seen.push_back(std::move(seen));
    AttemptRecord& record = exchange.add_attempt("10.0.0.1:80");
    record.endpoint_id = answer_.endpoint;
    if (answer_.connects) record.connected = exchange.now() + 1ns;
    if (body_ && answer_.reads_body) body_.set_sink(this);
    if (!answer_.never && !(answer_.waits_for_body && body_)) timer_.arm(answer_.after);
  }

 private:
  FakeLink::Seen& seen() { return link_.seen[index_]; }

  void silence() noexcept override {
    timer_.disarm();
    body_.drop();
    writer_.drop();
    if (done_) return;
    done_ = true;
    ++link_.cancelled;
    seen().cancelled = true;
  }

  void on_timer() {
    if (answered_) return finish();
    if (answer_.failure) {
      done_ = true;
      ++link_.told;
      tell_failure(*answer_.failure);
      return;
    }
    for (const int status : answer_.informational) {
      ResponseHead interim(exchange().arena);
      interim.status = status;
      tell_informational(interim);
      if (dropped()) return;
    }
    answered_ = true;
    timer_.arm(answer_.body_after);
    Response response;
    response.endpoint = answer_.endpoint;
    if (answer_.status != 0) {
      auto* head = exchange().arena.make<ResponseHead>(exchange().arena);
      head->status = answer_.status;
      head->has_body = !answer_.body.empty() || answer_.streams;
      for (const auto& [name, value] : answer_.headers) head->headers.add(name, value);
      response.head = head;
    }
    if (!answer_.body.empty() || answer_.streams) {
      BodyPipe::Ends ends = BodyPipe::make(exchange().arena, exchange().loop(), exchange().worker.buffers);
      writer_ = std::move(ends.writer);
      response.body = std::move(ends.reader);
    }
    tell_response(std::move(response));
  }

  void finish() {
    if (writer_ && !written_) {
      written_ = true;
      const std::size_t size = answer_.breaks ? answer_.body.size() / 2 : answer_.body.size();
      writer_.write(as_bytes(std::string_view(answer_.body).substr(0, size)));
      if (answer_.end_after > Duration(0)) return timer_.arm(answer_.end_after);
    }
    done_ = true;
    ++link_.told;
    Failure failure;
    failure.kind = answer_.breaks.value_or(FailureKind::none);
    failure.request_sent = true;
    Headers trailers(exchange().arena);
    for (const auto& [name, value] : answer_.trailers) trailers.add(name, value);
    const End end{answer_.trailers.empty() ? nullptr : &trailers, answer_.breaks ? &failure : nullptr};
    if (!answer_.end_told_first) end_body(writer_, end);
    BodyPipe::Writer writer = std::move(writer_);
    tell_end(end);
    if (answer_.end_told_first) end_body(writer, end);
  }

  static void end_body(BodyPipe::Writer& writer, const End& end) {
    if (!writer) return;
    end.clean() ? writer.finish(end.trailers) : writer.abort(BodyAbort::peer_gone);
  }

  std::size_t on_body(ByteView bytes) override {
    seen().body += as_text(bytes);
    return bytes.size();
  }
  void on_body_end(const Headers*) override {
    seen().body_ended = true;
    if (answer_.waits_for_body && !answer_.never) timer_.arm(answer_.after);
  }
  void on_body_abort(BodyAbort reason) override { seen().body_abort = reason; }

  FakeLink& link_;
  std::size_t index_;
  FakeAnswer answer_;
  BodyPipe::Reader body_;
  BodyPipe::Writer writer_;
  Timer timer_;
  bool answered_ = false;
  bool written_ = false;
  bool done_ = false;
};

FakeLink& FakeLink::then(FakeAnswer answer) {
  scripts_.push_back(std::move(answer));
  return *this;
}

FakeLink& FakeLink::always(FakeAnswer answer) {
  otherwise_ = std::move(answer);
  return *this;
}

CallPtr FakeLink::start(Request&& request, Caller& caller) {
  FakeAnswer answer = otherwise_;
  if (!scripts_.empty()) {
    answer = std::move(scripts_.front());
    scripts_.pop_front();
  }
  ExchangeContext& exchange = *request.exchange;
  return CallPtr(make_call<FakeCall>(exchange, caller, *this, std::move(answer), std::move(request)));
}

}  // namespace weir::test
