// Widened: a kernel of two operands and a result over bf16 or f16 through one over f32: operands are
// widened as a whole into the workspace, the result is narrowed out of it.
//
// A value, part of the kernel that made it. Threads: one call at a time per workspace. Invariants: the
// f32 kernel's own workspace lies behind `bytes()`, 64-byte aligned; Run allocates nothing. Read next:
// kernels/cpu/matmul.cc.
#ifndef ONEFLOW_KERNELS_CPU_WIDENED_H_
#define ONEFLOW_KERNELS_CPU_WIDENED_H_

#include <cstdint>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {

class Widened {
 public:
  // REQUIRES: two inputs and one output of one dtype.
  explicit Widened(const KernelSpec& spec)
      : type_(NarrowOf(spec.inputs.at(0).dtype)),
        threads_(spec.threads),
        a_(NumElements(spec.inputs.at(0).shape)),
        b_(NumElements(spec.inputs.at(1).shape)),
        out_(NumElements(spec.outputs.at(0).shape)) {}

  int64_t bytes() const { return Aligned(a_) + Aligned(b_) + Aligned(out_); }

  // run(a, b, out, workspace) on the widened operands. REQUIRES: a narrow dtype.
  template <typename F>
  void Run(const KernelArgs& args, const F& run) const {
    char* const space = static_cast<char*>(args.workspace);
    float* const a = reinterpret_cast<float*>(space);
    float* const b = reinterpret_cast<float*>(space + Aligned(a_));
    float* const out = reinterpret_cast<float*>(space + Aligned(a_) + Aligned(b_));
    Widen(In<char>(args, 0), a, a_);
    Widen(In<char>(args, 1), b, b_);
    run(a, b, out, space + bytes());
    ParallelFor(threads_, out_, kGrain, [&](int64_t begin, int64_t end) {
      type_.narrow(out + begin, Out<char>(args, 0) + 2 * begin, end - begin);
    });
  }

 private:
  static int64_t Aligned(int64_t elements) { return (elements * 4 + 63) / 64 * 64; }
  void Widen(const char* from, float* to, int64_t n) const {
    ParallelFor(threads_, n, kGrain, [&](int64_t begin, int64_t end) {
      type_.widen(from + 2 * begin, to + begin, end - begin);
    });
  }

  Narrow type_;
  int threads_;
  int64_t a_, b_, out_;  // elements
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_WIDENED_H_
