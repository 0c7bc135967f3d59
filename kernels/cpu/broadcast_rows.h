// BroadcastRows: runs a loop over two broadcast operands row by row: [n,c] + [c], [n,1] * [n,c],
// scalars.
//
// Functions only. Threads: as the kernel that calls. A loop takes (a, b, out, n) with each operand
// either dense or one repeated element along the row; `kRepeat...` says which. Read next:
// kernels/cpu/binary.cc.
#ifndef ONEFLOW_KERNELS_CPU_BROADCAST_ROWS_H_
#define ONEFLOW_KERNELS_CPU_BROADCAST_ROWS_H_

#include <cstdint>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/loop_nest.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {

template <typename Function, typename T, typename R, bool kRepeatA, bool kRepeatB>
struct BroadcastLoop {
  OF_LOOP static void Run(const T* a, const T* b, R* out, int64_t n) {
    if constexpr (kRepeatA && kRepeatB) {
      const R value = Function::template Apply<T>(a[0], b[0]);
      for (int64_t i = 0; i < n; ++i) out[i] = value;
    } else if constexpr (kRepeatA) {
      const T first = a[0];
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) out[i] = Function::template Apply<T>(first, b[i]);
    } else if constexpr (kRepeatB) {
      const T second = b[0];
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) out[i] = Function::template Apply<T>(a[i], second);
    } else {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) out[i] = Function::template Apply<T>(a[i], b[i]);
    }
  }
};

// Two operands of one dtype that broadcast to the result.
inline SpecCheck CheckBroadcast(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1).Require(check.in(0).dtype == check.in(1).dtype,
                                     "both operands have one dtype");
  check.Broadcasts(check.in(0).shape, check.out(0).shape);
  check.Broadcasts(check.in(1).shape, check.out(0).shape);
  return check;
}

// A kernel of out = Function(a, b) with NumPy broadcasting. T: element of both operands, R: of the
// result.
template <typename Function, typename T, typename R>
std::unique_ptr<Kernel> MakeBroadcast(const KernelSpec& spec) {
  const Shape& shape = spec.outputs.at(0).shape;
  const LoopNest<3> nest(shape,
                         {BroadcastStrides(spec.inputs.at(0).shape, shape),
                          BroadcastStrides(spec.inputs.at(1).shape, shape), StridesOf(shape)});
  const bool repeat_a = nest.inner_stride(0) == 0;
  const bool repeat_b = nest.inner_stride(1) == 0;
  const auto loop = repeat_a
                        ? (repeat_b ? Vectorised<BroadcastLoop<Function, T, R, true, true>>()
                                    : Vectorised<BroadcastLoop<Function, T, R, true, false>>())
                        : (repeat_b ? Vectorised<BroadcastLoop<Function, T, R, false, true>>()
                                    : Vectorised<BroadcastLoop<Function, T, R, false, false>>());
  return KernelOf([nest, loop, threads = spec.threads](const KernelArgs& args) {
    const T* a = In<T>(args, 0);
    const T* b = In<T>(args, 1);
    R* out = Out<R>(args, 0);
    nest.ParallelRows(threads, kGrain, [&](const std::array<int64_t, 3>& at, int64_t n) {
      loop(a + at[0], b + at[1], out + at[2], n);
    });
  });
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_BROADCAST_ROWS_H_
