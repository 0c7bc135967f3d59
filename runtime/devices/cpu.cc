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

// Keeps `size` bytes from the first huge page of a mapping of size + kHugePage, gives the rest back.
std::byte* Aligned(std::byte* mapped, size_t size) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto huge = static_cast<uintptr_t>(kHugePage);
  const auto at = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t begin = (at + huge - 1) / huge * huge;
  const uintptr_t end = (begin + size + page - 1) / page * page;
  if (begin > at) munmap(mapped, begin - at);
  const uintptr_t mapped_end = (at + size + huge + page - 1) / page * page;
  if (mapped_end > end) munmap(reinterpret_cast<void*>(end), mapped_end - end);
  return reinterpret_cast<std::byte*>(begin);
}

class CpuDevice : public Device {
 public:
  explicit CpuDevice(const kernels::KernelTable* table) : table_(table) {}

  std::string kind() const override { return "cpu"; }
  bool holds_bytes() const override { return true; }

  absl::StatusOr<Block> Allocate(int64_t bytes) override {
    if (bytes == 0) return Block();
    const size_t size = static_cast<size_t>(bytes);
    // Room to begin at a huge page: what begins between two has small pages at both ends.
    const size_t room = bytes >= kHugePage ? static_cast<size_t>(kHugePage) : 0;
    void* data =
        mmap(nullptr, size + room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
      return MakeError(ErrorKind::kOutOfMemory,
                       absl::StrCat("the host has no ", bytes, " bytes for a CPU device"));
    }
    if (room > 0) {
      data = Aligned(static_cast<std::byte*>(data), size);
      // Fewer page faults and TLB misses; refusal is harmless.
      madvise(data, size, MADV_HUGEPAGE);
    }
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
