#include "kernels/cuda/soft_grid_for_test.h"

#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/cuda/device_code.h"
#include "kernels/cuda/soft_races_for_test.h"
#include "kernels/cuda/tensor_core.h"

namespace oneflow::kernels {
namespace {

constexpr size_t kStackBytes = 64 << 10;

// What a fiber waits for.
enum class Waits { kNothing, kBlock, kWarp };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  bool done = false;
  Waits waits = Waits::kNothing;
  void* lane = nullptr;  // brought to a meeting of the warp
  SoftCopies copies;
  WatchedFiber watched;
  unsigned barriers = 0;  // that it has come to
};

// Places that order the fibers of a warp: before their last has come to a meeting, and behind what it did there.
struct Meeting {
  char come = 0, over = 0;
};

// The block that this OS thread runs now.
struct Block {
  ucontext_t scheduler;
  void* watched_scheduler = nullptr;
  std::vector<Fiber> fibers;  // as many as the largest block so far; the first `count` are in use
  size_t count = 0;
  size_t current = 0;
  // A fiber can be at the next barrier while others have not gone on from this one, but not at the one behind it.
  char barriers[2] = {};
  std::vector<Meeting> meetings;  // by warp
  char over = 0;                  // orders the ends of fibers
  const std::function<void()>* body = nullptr;
  std::unique_ptr<char[]> shared;
  size_t shared_bytes = 0;
  bool shared_is_new = false;
};
thread_local Block* running_block = nullptr;

void EnterFiber() {
  Block* block = running_block;
  (*block->body)();
  block->fibers[block->current].done = true;
  OrderBefore(&block->over);
  LeaveFiber(block->watched_scheduler);
}

// A fiber at its beginning. Apart, for what calls getcontext must not keep values in registers.
__attribute__((noinline)) void Prepare(Block* block, Fiber* fiber) {
  fiber->done = false;
  fiber->waits = Waits::kNothing;
  fiber->copies.groups.clear();
  fiber->barriers = 0;
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack.get();
  fiber->context.uc_stack.ss_size = kStackBytes;
  fiber->context.uc_link = &block->scheduler;
  makecontext(&fiber->context, &EnterFiber, 0);
}

// The fibers [begin, end) go on if all of them that have not ended wait for `what`; true if they do.
bool Meet(Block* block, size_t begin, size_t end, Waits what) {
  for (size_t at = begin; at < end; ++at) {
    if (!block->fibers[at].done && block->fibers[at].waits != what) return false;
  }
  for (size_t at = begin; at < end; ++at) block->fibers[at].waits = Waits::kNothing;
  return true;
}
size_t WarpOf(size_t at) { return at / kWarp * kWarp; }
size_t WarpEnd(const Block& block, size_t at) { return std::min(block.count, WarpOf(at) + kWarp); }

// From a fiber to the scheduler, until it is entered again.
void Leave(Block* block, Fiber* fiber) {
  LeaveFiber(block->watched_scheduler);
  swapcontext(&fiber->context, &block->scheduler);
}

[[noreturn]] void Stop(const char* what) {
  std::fprintf(stderr, "software CUDA: %s\n", what);
  std::abort();
}

// Every thread of the block once between two barriers, in an order that changes with `seed`.
void RunBlock(Block* block, int threads, uint64_t seed) {
  const size_t n = static_cast<size_t>(threads);
  if (block->fibers.size() < n) block->fibers.resize(n);
  block->count = n;
  block->meetings.resize(n / kWarp + 1);
  block->watched_scheduler = ThisFiber();
  for (size_t at = 0; at < n; ++at) Prepare(block, &block->fibers[at]);
  block->shared_is_new = true;
  for (size_t left = n; left > 0; ++seed) {
    const size_t first = static_cast<size_t>(seed * 7 % n);
    bool ran = false;
    for (size_t i = 0; i < n; ++i) {
      const size_t at = seed % 2 == 0 ? (first + i) % n : (first + n - i) % n;
      Fiber& fiber = block->fibers[at];
      if (fiber.done || fiber.waits != Waits::kNothing) continue;
      ran = true;
      block->current = at;
      threadIdx.x = static_cast<unsigned>(at);
      fiber.watched.Enter();
      swapcontext(&block->scheduler, &fiber.context);
      if (!fiber.done) continue;
      --left;
      Meet(block, 0, n, Waits::kBlock);  // those that waited for this one alone
    }
    if (!ran) Stop("threads of a block wait for each other at different places");
  }
  OrderBehind(&block->over);
}

}  // namespace

void RunSoftGrid(int64_t blocks, int threads, bool barriers, const std::function<void()>& body,
                 uint64_t seed) {
  // Threads that meet nowhere may not meet in memory either: each needs a stack of its own for that to be seen.
  const bool fibers = barriers || kWatchFibers;
  blockDim.x = static_cast<unsigned>(threads);
  gridDim.x = static_cast<unsigned>(blocks);
  // Stacks are kept from launch to launch.
  static thread_local std::unique_ptr<Block> block = std::make_unique<Block>();
  if (fibers) {
    block->body = &body;
    running_block = block.get();
  }
  for (int64_t b = 0; b < blocks; ++b) {
    blockIdx.x = static_cast<unsigned>(b);
    if (fibers) {
      RunBlock(block.get(), threads, seed + static_cast<uint64_t>(b));
      continue;
    }
    for (int t = 0; t < threads; ++t) {
      threadIdx.x = static_cast<unsigned>(t);
      body();
    }
  }
  running_block = nullptr;
}

void SoftBarrier() {
  Block* block = running_block;
  Fiber& fiber = block->fibers[block->current];
  void* order = &block->barriers[fiber.barriers++ % 2];
  fiber.waits = Waits::kBlock;
  OrderBefore(order);
  Meet(block, 0, block->count, Waits::kBlock);
  Leave(block, &fiber);
  OrderBehind(order);
}

void SoftWarpMeet(void* lane, void (*meet)(void* const* lanes)) {
  Block* block = running_block;
  const size_t me = block->current;
  const size_t begin = WarpOf(me), end = WarpEnd(*block, me);
  Fiber& fiber = block->fibers[me];
  Meeting& meeting = block->meetings[me / kWarp];
  fiber.lane = lane;
  fiber.waits = Waits::kWarp;
  OrderBefore(&meeting.come);
  if (!Meet(block, begin, end, Waits::kWarp)) {
    Leave(block, &fiber);
    OrderBehind(&meeting.over);
    return;
  }
  OrderBehind(&meeting.come);
  if (meet == nullptr) {
    OrderBefore(&meeting.over);
    return;
  }
  void* lanes[kWarp];
  for (size_t at = begin; at < begin + kWarp; ++at) {
    if (at >= end || block->fibers[at].done) Stop("a lane of a warp is not there");
    lanes[at - begin] = block->fibers[at].lane;
  }
  meet(lanes);
  OrderBefore(&meeting.over);
}

// As large as it is said, so that AddressSanitizer sees its ends.
char* SoftSharedSpace(size_t bytes) {
  Block* block = running_block;
  const UnwatchedWrites by_the_launch;  // before any thread of the block began
  if (block->shared_bytes != bytes) block->shared.reset(new char[bytes]);
  if (block->shared_is_new) std::memset(block->shared.get(), 0xff, bytes);
  block->shared_bytes = bytes;
  block->shared_is_new = false;
  return block->shared.get();
}

SoftCopies* SoftCopiesOfThread() { return &running_block->fibers[running_block->current].copies; }

}  // namespace oneflow::kernels
