#include "kernels/cuda/soft_grid_for_test.h"

#include <ucontext.h>

#include <memory>
#include <vector>

#include "kernels/cuda/device_code.h"

namespace oneflow::kernels {
namespace {

constexpr size_t kStackBytes = 64 << 10;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  bool done = false;
};

// The block that this OS thread runs now.
struct Block {
  ucontext_t scheduler;
  std::vector<Fiber> fibers;
  size_t current = 0;
  const std::function<void()>* body = nullptr;
};
thread_local Block* running_block = nullptr;

void EnterFiber() {
  (*running_block->body)();
  running_block->fibers[running_block->current].done = true;
}

// A fiber at its beginning. Apart, for what calls getcontext must not keep values in registers.
__attribute__((noinline)) void Prepare(Block* block, Fiber* fiber) {
  fiber->done = false;
  getcontext(&fiber->context);
  fiber->context.uc_stack.ss_sp = fiber->stack.get();
  fiber->context.uc_stack.ss_size = kStackBytes;
  fiber->context.uc_link = &block->scheduler;
  makecontext(&fiber->context, &EnterFiber, 0);
}

// Every thread of the block once per barrier, in an order that changes with `seed`.
void RunBlock(Block* block, int threads, uint64_t seed) {
  block->fibers.resize(static_cast<size_t>(threads));  // as many for each block of a grid
  for (Fiber& fiber : block->fibers) Prepare(block, &fiber);
  const size_t n = block->fibers.size();
  for (size_t left = n; left > 0; ++seed) {
    const size_t first = static_cast<size_t>(seed * 7 % n);
    for (size_t i = 0; i < n; ++i) {
      const size_t at = seed % 2 == 0 ? (first + i) % n : (first + n - i) % n;
      if (block->fibers[at].done) continue;
      block->current = at;
      threadIdx.x = static_cast<unsigned>(at);
      swapcontext(&block->scheduler, &block->fibers[at].context);
      if (block->fibers[at].done) --left;
    }
  }
}

}  // namespace

void RunSoftGrid(int64_t blocks, int threads, bool barriers, const std::function<void()>& body,
                 uint64_t seed) {
  blockDim.x = static_cast<unsigned>(threads);
  gridDim.x = static_cast<unsigned>(blocks);
  // Stacks are kept from launch to launch.
  static thread_local std::unique_ptr<Block> block = std::make_unique<Block>();
  if (barriers) {
    block->body = &body;
    running_block = block.get();
  }
  for (int64_t b = 0; b < blocks; ++b) {
    blockIdx.x = static_cast<unsigned>(b);
    if (barriers) {
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
  const size_t me = block->current;
  swapcontext(&block->fibers[me].context, &block->scheduler);
}

}  // namespace oneflow::kernels
