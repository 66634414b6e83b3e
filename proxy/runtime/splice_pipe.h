// SplicePipe: what bytes go through from one stream to another without passing through our memory: a pipe of the kernel, filled and drained
// with splice(2). SplicePipes: the worker's, each lent to one transfer at a time. A pipe that holds bytes stays with its borrower (H1Output)
// until they have left; given back with bytes in it, it is closed, so that nobody gets the bytes of somebody else.
//
// The pool never waits and never fails loudly: where a stream has no descriptor (TLS), with kMost pipes out, or without descriptors or pages
// left for one (pipe(7), pipe-user-pages-soft), take() gives none and the bytes are copied; after a refusal the kernel is not asked again for
// kPatience calls. Neither class is thread-safe. A process that splices ignores SIGPIPE: splice(2) has no MSG_NOSIGNAL.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "proxy/runtime/byte_stream.h"

namespace weir {

class SplicePipe {
 public:
  static constexpr std::size_t kSize = std::size_t{256} * 1024;

  virtual ~SplicePipe() = default;
  // At most so many, and at most kSize; only while empty, so that would_block speaks of the stream and not of the pipe.
  virtual IoResult fill(ByteStream& from, std::size_t most) = 0;
  // As much as the stream takes: ok says that something was taken, size() what is left.
  virtual IoResult drain(ByteStream& to) = 0;
  virtual std::size_t size() const = 0;
};

using SplicePipeMaker = std::unique_ptr<SplicePipe> (*)();  // null: there is none to be had
std::unique_ptr<SplicePipe> make_kernel_pipe();             // between streams that have a descriptor

class SplicePipes {
 public:
  static constexpr std::size_t kMost = 64;  // lent at once
  static constexpr std::size_t kKept = 8;   // free ones kept open
  static constexpr int kPatience = 256;

  explicit SplicePipes(SplicePipeMaker make = make_kernel_pipe) : make_(make) {}
  std::unique_ptr<SplicePipe> take(const ByteStream& from, const ByteStream& to);
  void give_back(std::unique_ptr<SplicePipe> pipe);
  void trim() { free_.clear(); }  // closes the free ones
  std::size_t lent() const { return lent_; }

 private:
  SplicePipeMaker make_;  // a simulated world has pipes of its own
  std::vector<std::unique_ptr<SplicePipe>> free_;
  std::size_t lent_ = 0;
  int patience_ = 0;
};

}  // namespace weir
