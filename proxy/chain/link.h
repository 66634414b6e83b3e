// Link, Call and Caller: the contract of the chain. A link is "something that can answer": a filter bound to its service, holding the next
// link; the innermost link is the upstream. The chain owns the links; whoever started a call owns it through its CallPtr.
//
// A link has one operation, start: it takes a Request and a Caller and returns an owning CallPtr, never null. The Caller hears
// on_informational any number of times, then either on_failure once, or on_response once and then on_end once. Nothing after that, and
// nothing at all once the CallPtr is dropped.
//
// The four laws, in this order:
//  1. Never answer inside start. Known at once? Return fail_later(): the answer comes on the next turn. (Asserted in debug builds, as is
//     the order of what a call tells: metered says when a start is under way, and every call checks.)
//  2. Owning is living. A link's call owns the inner CallPtr; dropping it cancels it and everything below it.
//  3. Telling is last. Calling the Caller is the final statement of a function.
//  4. Nobody dies mid-callback. CallPtr's deleter silences the call at once (its Caller is cleared, inner calls, pipe ends and permits are
//     let go) and hands it to the loop, which frees it after the current callback. So there is one way to stop, destruction, and no link has
//     a clean-up hook that it can forget.
//
// Bodies flow past links in BodyPipes. on_end means that the last byte of the answer was received from the upstream (or that it
// broke); permits are returned then, not when the client has drained it. Commit point: once on_response was told outward, no retry.
#pragma once

#include <memory>
#include <span>

#include "proxy/base/check.h"
#include "proxy/chain/exchange_context.h"
#include "proxy/chain/failure.h"
#include "proxy/message/head.h"
#include "proxy/runtime/body_pipe.h"

namespace weir {

enum class RequestKind : std::uint8_t { http, stream };

// Ids of endpoints that were tried before, the first few; by whoever starts again.
class TriedEndpoints {
 public:
  static constexpr std::size_t kMost = 8;
  bool has(std::uint32_t id) const {
    for (std::size_t i = 0; i < count_; ++i) {
      if (ids_[i] == id) return true;
    }
    return false;
  }
  void add(std::uint32_t id) {
    if (count_ < kMost && !has(id)) ids_[count_++] = id;
  }
  std::span<const std::uint32_t> ids() const { return {ids_, count_}; }

 private:
  std::uint32_t ids_[kMost] = {};
  std::size_t count_ = 0;
};

struct PickContext {  // for the balancer
  std::uint64_t hash = 0;
  const TriedEndpoints* tried = nullptr;  // to be avoided where another is usable; null: none
  bool was_tried(std::uint32_t id) const { return tried != nullptr && tried->has(id); }
};

struct Request {
  ExchangeContext* exchange = nullptr;  // never null
  RequestHead* head = nullptr;          // never null for kind http; shared by all tries: links do not change it after the chain began
  BodyPipe::Reader body;                // empty when there is none
  RequestKind kind = RequestKind::http;
  std::uint16_t attempt = 1;        // 1 for the first try; set by whoever starts again
  MonotonicTime deadline = kNever;  // the earliest total deadline above; shrinks inward
  PickContext pick;
};

struct Response {
  ResponseHead* head = nullptr;  // valid during on_response only
  BodyPipe::Reader body;         // empty when head->has_body is false
  std::uint32_t endpoint = 0;    // id of the endpoint that answered; 0 for local answers
};

struct End {
  const Headers* trailers = nullptr;  // valid during on_end; null when there are none
  const Failure* failure = nullptr;   // null: clean
  bool clean() const { return failure == nullptr; }
};

class Caller {
 public:
  virtual void on_informational(const ResponseHead& head) = 0;
  virtual void on_response(Response&& response) = 0;
  virtual void on_end(const End& end) = 0;
  virtual void on_failure(const Failure& failure) = 0;

 protected:
  ~Caller() = default;
};

class Metered;  // metered.h: counts, without an object of its own in the way, how the calls of one link end

// One answer in progress. Made in the exchange's arena by make_call(); held by a CallPtr.
class Call : public Buried {
 public:
  Call(ExchangeContext& exchange, Caller& caller) : exchange_(exchange), caller_(&caller) {}

 protected:
  ~Call() override = default;

  // Lets go of what reaches outside: inner calls, pipe ends, permits, streams. Called once, when the CallPtr is dropped; what it does
  // must not call the Caller. Timers need no mention: they are disarmed by destruction, before any further event.
  virtual void silence() noexcept {}

  ExchangeContext& exchange() const { return exchange_; }
  bool dropped() const { return caller_ == nullptr; }
  Caller* caller() const { return caller_; }  // null once dropped

  // Telling is last: nothing may follow these in the calling function.
  void tell_informational(const ResponseHead& head) {
    if (caller_ == nullptr) return;
    DCHECK(told_ == Told::nothing && exchange_.starting == 0);
    caller_->on_informational(head);
  }
  void tell_response(Response&& response) {
    if (caller_ == nullptr) return;
    DCHECK(told_ == Told::nothing && exchange_.starting == 0);
    told_ = Told::response;
    status_ = response.head == nullptr ? 0 : static_cast<std::uint16_t>(response.head->status);
    caller_->on_response(std::move(response));
  }
  void tell_end(const End& end) {
    if (caller_ == nullptr) return;
    DCHECK(told_ == Told::response && exchange_.starting == 0);
    told_ = Told::all;
    if (meters_ != nullptr) count(end.failure == nullptr ? Ending::clean : Ending::broken);
    caller_->on_end(end);
  }
  void tell_failure(const Failure& failure) {
    if (caller_ == nullptr) return;
    DCHECK(told_ == Told::nothing && exchange_.starting == 0);
    told_ = Told::all;
    if (meters_ != nullptr) count(failure.rejected() ? Ending::rejected : Ending::failed);
    caller_->on_failure(failure);
  }

 private:
  friend struct CallDrop;
  friend class Metered;
  enum class Told : std::uint8_t { nothing, response, all };
  enum class Ending : std::uint8_t { clean, broken, failed, rejected, cancelled };
  struct Meter {  // in the arena; several where links hand their inner call on as their own
    Meter* next;
    Metered* link;
    MonotonicTime started;
  };
  void count(Ending ending) noexcept;  // by all meters, which are then done; metered.cc
  void free_buried() noexcept final {
    Arena& arena = exchange_.arena;
    this->~Call();
    arena.release();
  }
  ExchangeContext& exchange_;
  Caller* caller_;
  Meter* meters_ = nullptr;
  std::uint16_t status_ = 0;  // of the response told; 0: none, or a stream
  Told told_ = Told::nothing;
};

struct CallDrop {
  void operator()(Call* call) const noexcept {
    call->caller_ = nullptr;
    if (call->meters_ != nullptr) call->count(Call::Ending::cancelled);
    call->silence();
    call->exchange_.loop().bury(*call);
  }
};
using CallPtr = std::unique_ptr<Call, CallDrop>;

// make_call<RetryCall>(exchange, caller, ...): T's constructor takes (ExchangeContext&, Caller&, args...). Never null.
template <class T, class... Args>
T* make_call(ExchangeContext& exchange, Caller& caller, Args&&... args) {
  exchange.arena.retain();
  return exchange.arena.make<T>(exchange, caller, std::forward<Args>(args)...);
}

class Link {
 public:
  virtual ~Link() = default;
  virtual CallPtr start(Request&& request, Caller& caller) = 0;
};

// A call that tells `failure` on the next turn (law 1). `detail` must be static or in the arena.
CallPtr fail_later(ExchangeContext& exchange, Caller& caller, const Failure& failure);

}  // namespace weir
