// Causes: the `causes:` list of retries, breakers and ejections, compiled into sets that a link can ask
// without allocating. A plain value inside the configured structs; whoever has a failure or an answer of the
// upstream asks it. It never speaks of what weir rejected itself, unless `rejected` was listed where that is
// allowed.
#pragma once

#include <bitset>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "config/type.h"

namespace weir::config {

class Causes {
 public:
  enum class Kind : std::uint8_t {
    connect_failure,  // no connection: refused, unreachable, timed out while connecting, TLS failed
    reset,            // the connection broke after it was used
    refused_stream,   // the peer said that it did not process the request (HTTP/2 REFUSED_STREAM, GOAWAY)
    timeout,          // of a try, never the total one
    rejected,         // by weir itself; only a fallback may name it
  };
  static constexpr int kStatuses = 600;
  static constexpr int kGrpcCodes = 17;

  bool has(Kind kind) const { return kinds_[static_cast<std::size_t>(kind)]; }
  bool has_status(int status) const {
    return status >= 100 && status < kStatuses && statuses_[static_cast<std::size_t>(status)];
  }
  bool has_grpc(int code) const {
    return code >= 0 && code < kGrpcCodes && grpc_[static_cast<std::size_t>(code)];
  }
  bool any_status() const { return statuses_.any(); }
  bool any_grpc() const { return grpc_.any(); }
  bool empty() const { return words_.empty(); }
  // True when every cause proves that no byte of the request was processed: connect_failure and
  // refused_stream.
  bool only_before_sending() const;

  const std::vector<std::string>& words() const { return words_; }  // as written

  // Adds one word: a kind, 5xx, gateway_error, 503, 500-503 or grpc_unavailable. False when it is none of
  // these.
  bool add(std::string_view word);
  static Causes of(std::initializer_list<const char*> words);  // for defaults; each word must be good

  friend bool operator==(const Causes& a, const Causes& b) { return a.words_ == b.words_; }

 private:
  bool add_statuses(std::string_view word);

  std::bitset<5> kinds_;
  std::bitset<kStatuses> statuses_;
  std::bitset<kGrpcCodes> grpc_;
  std::vector<std::string> words_;
};

// The type of a `causes` field. `rejected` is accepted only where told so.
enum class Rejections { refused, allowed };
Type<Causes> causes(Rejections rejections = Rejections::refused);

// Statuses alone: 503, a range 500-503, or a class 5xx. For access_log.when and the like.
class Statuses {
 public:
  bool has(int status) const { return causes_.has_status(status); }
  bool add(std::string_view word);
  const std::vector<std::string>& words() const { return causes_.words(); }

 private:
  Causes causes_;
};
Type<Statuses> statuses();

}  // namespace weir::config
