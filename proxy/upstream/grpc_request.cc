#include "proxy/upstream/grpc_request.h"

#include <algorithm>
#include <charconv>

#include "proxy/base/text.h"
#include "proxy/message/grpc.h"

namespace weir {
namespace {

// What the client counted itself: a client that retries counts on. 0 when it is absent or no number.
std::uint32_t previous_attempts(const RequestHead& head) {
  const std::string_view value = head.headers.value(kGrpcPreviousAttemptsField);
  constexpr std::size_t kDigits = 6;
  if (!is_digits(value) || value.size() > kDigits) return 0;
  std::uint32_t count = 0;
  for (const char c : value) count = count * 10 + static_cast<std::uint32_t>(c - '0');
  return count;
}

std::string_view number(Arena& arena, std::uint32_t value) {
  char digits[12];
  const auto* end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  return arena.copy({digits, static_cast<std::size_t>(end - digits)});
}

}  // namespace

const RequestHead& head_of_try(const Request& request, MonotonicTime now) {
  const ExchangeContext& exchange = *request.exchange;
  const RequestHead& head = *request.head;
  // A deadline that no filter enforces is passed on as it came.
  const bool timed = request.deadline != kNever && exchange.client_deadline != kNever;
  const bool again = request.attempt > 1;
  if (!exchange.grpc || (!timed && !again)) return head;
  Arena& arena = exchange.arena;
  auto* own = arena.make<RequestHead>(head);
  own->headers = Headers(arena);
  for (const HeaderField& field : head.headers) {
    if (field.id == HeaderId::removed || (timed && field.id == HeaderId::grpc_timeout)) continue;
    if (again && field.name == kGrpcPreviousAttemptsField) continue;
    own->headers.add_view(field);
  }
  if (timed) {
    const Duration left = std::max(Duration::zero(), std::min(request.deadline, exchange.client_deadline) - now);
    own->headers.add_view(kGrpcTimeoutField, arena.copy(GrpcTimeoutText(left).text()), HeaderId::grpc_timeout);
  }
  if (again) own->headers.add_view(kGrpcPreviousAttemptsField, number(arena, previous_attempts(head) + request.attempt - 1U));
  return *own;
}

}  // namespace weir
