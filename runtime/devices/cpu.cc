#include "runtime/devices/cpu.h"

#include <omp.h>
#include <sys/mman.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kernels/cpu/cpu_kernels.h"

namespace oneflow {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;

class CpuDevice : public Device {
 public:
  explicit CpuDevice(const kernels::KernelTable* table) : table_(table) {}

  std::string kind() const override { return "cpu"; }
  bool holds_bytes() const override { return true; }

  absl::StatusOr<Block> Allocate(int64_t bytes) override {
    if (bytes == 0) return Block();
    const size_t size = static_cast<size_t>(bytes);
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
      return MakeError(ErrorKind::kOutOfMemory,
                       absl::StrCat("the host has no ", bytes, " bytes for a CPU device"));
    }
    // Fewer page faults and TLB misses; refusal is harmless.
    if (bytes >= 4 * kHugePage) madvise(data, size, MADV_HUGEPAGE);
    return Block(static_cast<std::byte*>(data), size,
                 [](std::byte* block, size_t length) { munmap(block, length); });
  }

  // The host's memory: more could be mapped, but not used.
  int64_t capacity_bytes() const override {
    return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  }

  std::string isa() const override { return std::string(kernels::HostIsaName()); }

  absl::StatusOr<std::unique_ptr<kernels::Kernel>> MakeKernel(
      const plan::Task& task, int threads, int64_t workspace_bytes) const override {
    return MakeFittingKernel(*table_, task, threads, workspace_bytes, isa());
  }

  // Acts on the calling thread only: each compute thread has its own team.
  void EnterThread(int threads) const override { omp_set_num_threads(threads); }

 private:
  const kernels::KernelTable* table_;
};

}  // namespace

std::unique_ptr<Device> MakeCpuDevice(const kernels::KernelTable* table) {
  return std::make_unique<CpuDevice>(table);
}

}  // namespace oneflow
