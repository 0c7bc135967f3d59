#include "runtime/guarded_block.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace oneflow {
namespace {

constexpr std::byte kBeside{0xa5};
constexpr size_t kBlockAlignment = 64;

size_t PageBytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }
size_t Up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

GuardedBlock::GuardedBlock(int64_t bytes) : bytes_(bytes) {
  const size_t page = PageBytes();
  const size_t room = Up(Up(static_cast<size_t>(bytes), kBlockAlignment), page);
  mapped_ = room + 2 * page;
  void* map = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  OF_CHECK(map != MAP_FAILED) << "no " << mapped_ << " bytes for a guarded block";
  map_ = static_cast<std::byte*>(map);
  if (room > 0) {
    OF_CHECK(mprotect(inside(), room, PROT_READ | PROT_WRITE) == 0) << "mprotect";
  }
  data_ = inside() + room - Up(static_cast<size_t>(bytes), kBlockAlignment);
  std::byte* const end = data_ + bytes;
  std::fill(inside(), data_, kBeside);
  std::fill(end, inside() + room, kBeside);
  ASAN_POISON_MEMORY_REGION(inside(), static_cast<size_t>(data_ - inside()));
  ASAN_POISON_MEMORY_REGION(end, static_cast<size_t>(inside() + room - end));
}

GuardedBlock::~GuardedBlock() {
  if (map_ == nullptr) return;
  ASAN_UNPOISON_MEMORY_REGION(map_, mapped_);
  munmap(map_, mapped_);
}

std::byte* GuardedBlock::inside() const { return map_ + PageBytes(); }

bool GuardedBlock::Intact() const {
  const std::byte* const last = map_ + mapped_ - PageBytes();
  const std::byte* const end = data_ + bytes_;
  ASAN_UNPOISON_MEMORY_REGION(inside(), static_cast<size_t>(last - inside()));
  const auto beside = [](std::byte b) { return b == kBeside; };
  const bool intact = std::all_of(static_cast<const std::byte*>(inside()),
                                  static_cast<const std::byte*>(data_), beside) &&
                      std::all_of(end, last, beside);
  ASAN_POISON_MEMORY_REGION(inside(), static_cast<size_t>(data_ - inside()));
  ASAN_POISON_MEMORY_REGION(end, static_cast<size_t>(last - end));
  return intact;
}

HostTensor GuardedTensor(DType dtype, const Shape& shape) {
  HostTensor tensor;
  tensor.dtype = dtype;
  tensor.shape = shape;
  const auto block = std::make_shared<GuardedBlock>(tensor.bytes());
  tensor.data = std::shared_ptr<std::byte>(block, block->data());
  return tensor;
}

}  // namespace oneflow
