#include "proxy/runtime/splice_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "proxy/base/check.h"

namespace weir {

namespace {

IoResult move(int from, int to, std::size_t most) {
  for (;;) {
    const ssize_t n = splice(from, nullptr, to, nullptr, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) return {IoResult::Status::ok, static_cast<std::size_t>(n), 0};
    if (n == 0) return {IoResult::Status::end, 0, 0};
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return {IoResult::Status::would_block, 0, 0};
    return {IoResult::Status::error, 0, errno};
  }
}

class KernelPipe final : public SplicePipe {
 public:
  KernelPipe(int out, int in) : out_(out), in_(in) {}
  ~KernelPipe() override {
    close(out_);
    close(in_);
  }
  KernelPipe(const KernelPipe&) = delete;
  KernelPipe& operator=(const KernelPipe&) = delete;

  IoResult fill(ByteStream& from, std::size_t most) override {
    DCHECK(size_ == 0);
    const IoResult result = move(from.descriptor(), in_, std::min(most, kSize));
    size_ = result.bytes;
    return result;
  }

  IoResult drain(ByteStream& to) override {
    const std::size_t before = size_;
    IoResult result;
    while (size_ > 0 && result.ok()) {  // a short one does not always say that the socket is full
      result = move(out_, to.descriptor(), size_);
      size_ -= result.bytes;
    }
    result.bytes = before - size_;
    if (result.status != IoResult::Status::error && result.bytes > 0) result.status = IoResult::Status::ok;
    return result;
  }

  std::size_t size() const override { return size_; }

 private:
  int out_;
  int in_;
  std::size_t size_ = 0;
};

}  // namespace

std::unique_ptr<SplicePipe> make_kernel_pipe() {
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return nullptr;
  auto pipe = std::make_unique<KernelPipe>(ends[0], ends[1]);
  constexpr int kWanted = static_cast<int>(SplicePipe::kSize);
  return fcntl(ends[1], F_SETPIPE_SZ, kWanted) < kWanted ? nullptr : std::move(pipe);
}

std::unique_ptr<SplicePipe> SplicePipes::take(const ByteStream& from, const ByteStream& to) {
  if (make_ == make_kernel_pipe && (from.descriptor() < 0 || to.descriptor() < 0)) return nullptr;
  if (lent_ >= kMost) return nullptr;
  std::unique_ptr<SplicePipe> pipe;
  if (free_.empty()) {
    if (patience_ > 0 && --patience_ > 0) return nullptr;
    pipe = make_();
    if (pipe == nullptr) {
      patience_ = kPatience;
      return nullptr;
    }
  } else {
    pipe = std::move(free_.back());
    free_.pop_back();
  }
  ++lent_;
  return pipe;
}

void SplicePipes::give_back(std::unique_ptr<SplicePipe> pipe) {
  DCHECK(lent_ > 0);
  --lent_;
  if (pipe->size() == 0 && free_.size() < kKept) free_.push_back(std::move(pipe));
}

}  // namespace weir
