// ForcedCase: a local answer forced from one filter in one phase of an exchange, and what the client or the upstream does after it.
// A test makes one for each case; it owns the world. forced_rows.cc has the table of what forces an answer.
// It reports by sentences and never fails a test by itself.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/cut/judge.h"
#include "tests/support/world.h"

namespace weir::test {

// How much of the forced request is there when the answer comes.
enum class Shape : unsigned char { get, whole_post, half_length, half_chunked, half_closing, count_ };
// What comes behind the answer.
enum class Then : unsigned char {
  nothing,
  rest,           // of the body, trailers included
  rest_bytewise,  // and each byte by itself
  some_more,      // of the body, and never its end
  next_at_once,   // the rest, if any, and a pipelined next request
  client_fin,
  client_reset,
  client_close_unread,
  late_answer,    // of the upstream
  late_trailers,  // the same, in chunks with trailers
  upstream_reset,
  upstream_fin,
  count_,
};
const char* name_of(Shape shape);
const char* name_of(Then then);

struct ForcedRow {
  std::string name;            // the filter and the phase
  std::string filters;         // YAML, of the forced route's policy
  std::string service;         // further fields of its service
  std::vector<Reply> replies;  // of its upstream, try by try
  int status = 0;              // of the answer
  std::string failure;         // in the log; empty: none
  bool truncated = false;      // the upstream's answer had begun
  bool own = true;             // the proxy made the answer up
  bool half = true;            // may come while half of the body is there
  std::string target = "/forced";
  std::function<void(World&)> prepare = {};  // before the forced request
};
const std::vector<ForcedRow>& forced_rows();

class ForcedCase {
 public:
  ForcedCase(const ForcedRow& row, Shape shape, Then then, bool inbound);
  ~ForcedCase();
  Problems run();

 private:
  void send_first();
  void act();
  void send_next();
  WireReading read() const;
  WireEnd end() const;
  void judge_answers(bool at_the_end, Problems& problems);
  void judge_upstreams(Problems& problems);
  void judge_log(Problems& problems);
  bool client_left() const { return then_ == Then::client_reset || then_ == Then::client_fin || then_ == Then::client_close_unread; }
  bool request_ended() const;  // the client has sent all of the forced request
  bool half() const { return shape_ >= Shape::half_length; }

  const ForcedRow& row_;
  const Shape shape_;
  const Then then_;
  const bool inbound_;
  Conversation forced_;  // for the upstream
  Conversation fine_;
  CutPoint point_, fine_point_;
  World world_;
  std::unique_ptr<CutUpstream> upstream_, fine_upstream_;
  SimClient* client_ = nullptr;
  std::size_t quiet_ = 0;
  bool next_sent_ = false;
};

}  // namespace weir::test
