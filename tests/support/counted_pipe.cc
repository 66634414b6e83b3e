#include "tests/support/counted_pipe.h"

#include "proxy/sim/sim_pipe.h"

namespace weir::test {
namespace {

std::size_t counted = 0;

class CountedPipe final : public SplicePipe {
 public:
  IoResult fill(ByteStream& from, std::size_t most) override {
    const IoResult result = pipe_->fill(from, most);
    counted += result.bytes;
    return result;
  }
  IoResult drain(ByteStream& to) override { return pipe_->drain(to); }
  std::size_t size() const override { return pipe_->size(); }

 private:
  std::unique_ptr<SplicePipe> pipe_ = make_sim_pipe();
};

}  // namespace

std::unique_ptr<SplicePipe> make_counted_pipe() { return std::make_unique<CountedPipe>(); }

std::size_t spliced_bytes() { return counted; }

}  // namespace weir::test
