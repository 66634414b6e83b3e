#include "filters/retry/held_answer.h"

namespace weir {

HeldAnswer::HeldAnswer(ExchangeContext& exchange, Callback due)
    : exchange_(exchange), longest_(exchange.loop(), due), due_(exchange.loop(), due) {}

void HeldAnswer::hold(Response&& response, Duration longest) {
  Arena& arena = exchange_.arena;
  head_ = arena.make<ResponseHead>(arena);
  head_->status = response.head->status;
  head_->reason = arena.copy(response.head->reason);
  head_->version = response.head->version;
  head_->has_body = response.head->has_body;
  head_->content_length = response.head->content_length;
  response.head->headers.copy_to(head_->headers);
  endpoint_ = response.endpoint;
  body_ended_ = false;
  body_trailers_ = nullptr;
  body_ = std::move(response.body);
  pipe_ = body_.pipe();
  longest_.arm(longest);
  body_.set_sink(this);
}

Response HeldAnswer::take() {
  longest_.disarm();
  due_.cancel();
  body_.set_sink(nullptr);
  if (body_ended_) {  // a pipe tells its trailers once: the next sink hears them from another
    BodyPipe::Ends ends = BodyPipe::make(exchange_.arena, exchange_.loop(), exchange_.worker.buffers);
    ends.writer.finish(body_trailers_);
    body_ = std::move(ends.reader);
  }
  Response response;
  response.head = std::exchange(head_, nullptr);
  response.body = std::move(body_);
  response.endpoint = endpoint_;
  return response;
}

void HeldAnswer::keep_end(const End& end) {
  end_trailers_ = copy_of(end.trailers);
  if (end.failure != nullptr) end_failure_ = *end.failure;
  due_.schedule();
}

void HeldAnswer::drop() {
  longest_.disarm();
  due_.cancel();
  head_ = nullptr;
  body_.drop();
}

std::size_t HeldAnswer::on_body(ByteView /*bytes*/) {
  due_.schedule();
  return 0;  // the pipe keeps them for whoever gets the answer
}

void HeldAnswer::on_body_end(const Headers* trailers) {
  body_ended_ = true;
  body_trailers_ = copy_of(trailers);
}

const Headers* HeldAnswer::copy_of(const Headers* trailers) {
  if (trailers == nullptr) return nullptr;
  auto* copy = exchange_.arena.make<Headers>(exchange_.arena);
  trailers->copy_to(*copy);
  return copy;
}

}  // namespace weir
