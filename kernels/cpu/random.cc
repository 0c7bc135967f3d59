// dropout: y = keep ? x / (1 - p) : 0, and its gradient, which is the same function of dy.
//
// keep is word (i % 4) of the Philox block i / 4 >= p * 2^32, where i is the element's index in the
// *logical* tensor: the mask depends on (seed, key, step, index) alone, never on the layout, and is
// drawn again in the backward pass instead of being kept. 8 bytes per element; sixteen blocks at a
// time.
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/loop_nest.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

// n elements whose logical indices are first, first + 1, ..
template <typename T>
struct DropoutLoop {
  OF_LOOP static void Run(const T* x, T* y, int64_t n, uint64_t first, uint64_t step,
                          DropoutMask mask) {
    uint32_t words[4 * kPhiloxBlocks];
    uint64_t block = first / 4;
    int64_t skip = static_cast<int64_t>(first % 4);
    for (int64_t done = 0; done < n; block += kPhiloxBlocks, skip = 0) {
      DrawPhilox(mask.key, step, block, words);
      const int64_t count = std::min(4 * kPhiloxBlocks - skip, n - done);
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) {
        const Compute<T> kept = x[done + i] * mask.scale;
        Store<T>(words[skip + i] >= mask.threshold ? kept : 0, y + done + i);
      }
      done += count;
    }
  }
};

absl::Status CheckDropout(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1).Same(check.out(0), check.in(0));
  check.Takes(check.in(0), {DType::kF32, DType::kF64, DType::kBF16, DType::kF16});
  check.Placed(check.in(0)).Scalar(check.in(1), DType::kI64);
  return CheckDropoutAttrs(&check).status();
}

template <typename T>
std::unique_ptr<Kernel> MakeDropoutOf(const KernelSpec& spec) {
  const Operand& x = spec.inputs[0];
  const DropoutMask mask = DropoutMask::Of(spec.attrs);

  // Operand 0 of the nest is the buffer, operand 1 the logical tensor.
  const Shape logical = StridesOf(x.logical_shape);
  const LoopNest<2> nest(x.shape, {StridesOf(x.shape), logical});
  int64_t begin = 0;
  for (size_t d = 0; d < x.shape.size(); ++d) begin += x.begin[d] * logical[d];
  const int64_t micro_stride = x.shape.empty() ? 0 : x.micro_stride * logical.at(x.micro_dim);
  const auto loop = Vectorised<DropoutLoop<T>>();
  const int64_t elements = nest.elements();
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const T* in = In<T>(args, 0);
    const uint64_t step = static_cast<uint64_t>(*In<int64_t>(args, 1));
    T* out = Out<T>(args, 0);
    if (mask.drops_all()) {
      std::fill_n(out, elements, T(0.0f));
      return;
    }
    const int64_t base = begin + micro_stride * args.micro;
    // Logical neighbours: the innermost dim of the logical tensor is 1 apart; a nest whose
    // innermost stride is not 1 (a shard one element wide) is walked element by element.
    const int64_t stride = nest.inner_stride(1);
    nest.ParallelRows(threads, kGrain / 4, [&](const auto& at, int64_t n) {
      if (stride == 1 || n == 1) {
        loop(in + at[0], out + at[0], n, static_cast<uint64_t>(base + at[1]), step, mask);
        return;
      }
      for (int64_t i = 0; i < n; ++i) {
        loop(in + at[0] + i, out + at[0] + i, 1, static_cast<uint64_t>(base + at[1] + i * stride),
             step, mask);
      }
    });
  });
}

KernelOr MakeDropout(const KernelSpec& spec) {
  return DispatchFloats(spec, [&]<typename T>() -> KernelOr { return MakeDropoutOf<T>(spec); });
}

}  // namespace

std::vector<KernelDef> RandomKernels() {
  return {{"dropout", CheckDropout, Elementwise, MakeDropout},
          {"dropout_grad", CheckDropout, Elementwise, MakeDropout}};
}

}  // namespace oneflow::kernels
