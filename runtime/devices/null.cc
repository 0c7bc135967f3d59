#include "runtime/devices/null.h"

namespace oneflow {
namespace {

class NullDevice : public Device {
 public:
  std::string kind() const override { return "null"; }
  bool holds_bytes() const override { return false; }
  absl::StatusOr<Block> Allocate(int64_t) override { return Block(); }
  absl::StatusOr<std::unique_ptr<kernels::Kernel>> MakeKernel(const plan::Task&, int,
                                                              int64_t) const override {
    return std::unique_ptr<kernels::Kernel>();
  }
  void EnterThread(int) const override {}
};

}  // namespace

std::unique_ptr<Device> MakeNullDevice() { return std::make_unique<NullDevice>(); }

}  // namespace oneflow
