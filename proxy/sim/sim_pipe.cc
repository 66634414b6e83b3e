#include "proxy/sim/sim_pipe.h"

#include <algorithm>
#include <string>

namespace weir {

namespace {

class SimPipe final : public SplicePipe {
 public:
  IoResult fill(ByteStream& from, std::size_t most) override {
    held_.resize(std::min(most, kSize));
    const IoResult result = from.read({reinterpret_cast<std::uint8_t*>(held_.data()), held_.size()});
    held_.resize(result.bytes);
    return result;
  }

  IoResult drain(ByteStream& to) override {
    IoResult result;
    if (held_.empty()) return result;
    const iovec all{held_.data(), held_.size()};
    result = to.write({&all, 1});
    held_.erase(0, result.bytes);
    return result;
  }

  std::size_t size() const override { return held_.size(); }

 private:
  std::string held_;
};

}  // namespace

std::unique_ptr<SplicePipe> make_sim_pipe() { return std::make_unique<SimPipe>(); }

}  // namespace weir
