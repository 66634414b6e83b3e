// WorkerContext: what every object of one worker may borrow: its loop, memory pools, randomness and metric cells.
// The worker owns all of them and outlives what it serves; one context per worker thread, or per simulated worker.
// It never crosses threads.
#pragma once

#include "proxy/base/random.h"
#include "proxy/runtime/arena.h"
#include "proxy/runtime/block_pool.h"
#include "proxy/runtime/bytes.h"
#include "proxy/runtime/event_loop.h"
#include "proxy/runtime/splice_pipe.h"

namespace weir {

class MetricsShard;  // proxy/metrics/metrics.h

struct WorkerContext {
  EventLoop& loop;
  BufferPool& buffers;
  ArenaPool& arenas;
  Random& random;
  MetricsShard& metrics;
  std::uint32_t index = 0;  // 0-based worker number
  BlockPool blocks{};
  SplicePipes splice_pipes{};
};

}  // namespace weir
