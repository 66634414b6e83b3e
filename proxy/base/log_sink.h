// LogSink: where finished log lines go: a descriptor, the log writer's queue, or a test's memory.
// Its maker owns it and it outlives whoever writes; any thread may call one sink.
// It never blocks its caller on a disk and never changes a line.
#pragma once

#include <string_view>

namespace weir {

class LogSink {
 public:
  virtual ~LogSink() = default;
  // `lines` is one or more whole lines. It is taken whole or not at all (a full queue); what is not taken is lost, and counted by the sink.
  virtual void write(std::string_view lines) = 0;
};

}  // namespace weir
