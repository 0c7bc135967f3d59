// dropout: y = keep ? x / (1 - p) : 0, and its gradient, which is the same function of dy. uniform and
// normal: numbers of x's shape, from the same words; 4 bytes per element.
//
// keep is word (i % 4) of the Philox block i / 4 >= p * 2^32, where i is the element's index in the
// *logical* tensor: the mask depends on (seed, key, step, index) alone, never on the layout, and is
// drawn again in the backward pass instead of being kept. 8 bytes per element; sixteen blocks at a
// time.
#include <algorithm>
#include <cstdint>
#include <memory>

#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/logical_indices.h"
#include "kernels/cpu/simd.h"
#include "kernels/scalar/draws.h"

namespace oneflow::kernels {
namespace {

absl::Status CheckDropout(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1).Same(check.out(0), check.in(0));
  check.Takes(check.in(0), {DType::kF32, DType::kF64, DType::kBF16, DType::kF16});
  check.Placed(check.in(0)).Scalar(check.in(1), DType::kI64);
  return CheckDropoutAttrs(&check).status();
}

// A kernel that calls run(args, at, n, first, step) for runs of n elements, dense in the buffers from
// `at` and with logical indices from `first`.
template <typename Run>
std::unique_ptr<Kernel> AlongLogicalIndices(const KernelSpec& spec, Run run) {
  const LogicalIndices indices(spec.inputs[0]);
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const LoopNest<2>& nest = indices.nest();
    const uint64_t step = static_cast<uint64_t>(*In<int64_t>(args, 1));
    const int64_t base = indices.First(args.micro);
    // Logical neighbours: the innermost dim of the logical tensor is 1 apart; a nest whose
    // innermost stride is not 1 (a shard one element wide) is walked element by element.
    const int64_t stride = nest.inner_stride(1);
    nest.ParallelRows(threads, kGrain / 4, [&](const auto& at, int64_t n) {
      if (stride == 1 || n == 1) {
        run(args, at[0], n, static_cast<uint64_t>(base + at[1]), step);
        return;
      }
      for (int64_t i = 0; i < n; ++i) {
        run(args, at[0] + i, 1, static_cast<uint64_t>(base + at[1] + i * stride), step);
      }
    });
  });
}

template <typename T>
std::unique_ptr<Kernel> MakeDropoutOf(const KernelSpec& spec) {
  const DropoutMask mask = DropoutMask::Of(spec.attrs);
  const auto loop = Vectorised<DropoutLoop<T>>();
  return AlongLogicalIndices(
      spec, [=](const KernelArgs& args, int64_t at, int64_t n, uint64_t first, uint64_t step) {
        if (mask.drops_all()) {
          std::fill_n(Out<T>(args, 0) + at, n, T(0.0f));
        } else {
          loop(In<T>(args, 0) + at, Out<T>(args, 0) + at, n, first, step, mask);
        }
      });
}

KernelOr MakeDropout(const KernelSpec& spec) {
  return DispatchFloats(spec, [&]<typename T>() -> KernelOr { return MakeDropoutOf<T>(spec); });
}

template <typename T>
struct UniformLoop {
  OF_LOOP static void Run(T* y, int64_t n, uint64_t first, uint64_t step, uint64_t key) {
    ForPhiloxWords(
        key, step, first,
        n, [&](const uint32_t* words, int64_t done, int64_t count) __attribute__((always_inline)) {
          for (int64_t i = 0; i < count; ++i) {
            Store<T>(static_cast<Compute<T>>(UniformOf<T>(words[i])), y + done + i);
          }
        });
  }
};

template <typename T>
struct NormalLoop {
  OF_LOOP static void Run(T* y, int64_t n, uint64_t first, uint64_t step, uint64_t key) {
    uint32_t words[4 * kPhiloxBlocks];
    uint64_t block = first / 4;
    int64_t skip = static_cast<int64_t>(first % 4);
    for (int64_t done = 0; done < n; block += kPhiloxBlocks, skip = 0) {
      DrawPhilox(key, step, block, words);
      const int64_t count = std::min(4 * kPhiloxBlocks - skip, n - done);
      for (int64_t i = skip; i < skip + count; ++i) {
        const uint32_t* pair = words + i / 2 * 2;
        const float value = NormalOf(pair[0], pair[1], i % 2 == 0);
        Store<T>(static_cast<Compute<T>>(value), y + done + i - skip);
      }
      done += count;
    }
  }
};

absl::Status CheckDrawn(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1).Same(check.out(0), check.in(0));
  check.Takes(check.in(0), {DType::kF32, DType::kF64, DType::kBF16, DType::kF16});
  check.Placed(check.in(0)).Scalar(check.in(1), DType::kI64);
  return check.IntOrText("seed").IntOrText("key").status();
}

template <template <typename> typename Loop>
KernelOr MakeDrawn(const KernelSpec& spec) {
  return DispatchFloats(spec, [&]<typename T>() -> KernelOr {
    const auto loop = Vectorised<Loop<T>>();
    return AlongLogicalIndices(
        spec, [loop, key = StreamKey(spec.attrs)](const KernelArgs& args, int64_t at, int64_t n,
                                                  uint64_t first, uint64_t step) {
          loop(Out<T>(args, 0) + at, n, first, step, key);
        });
  });
}

}  // namespace

std::vector<KernelDef> RandomKernels() {
  return {{"dropout", CheckDropout, Elementwise, MakeDropout},
          {"dropout_grad", CheckDropout, Elementwise, MakeDropout},
          {"uniform", CheckDrawn, Elementwise, MakeDrawn<UniformLoop>},
          {"normal", CheckDrawn, Elementwise, MakeDrawn<NormalLoop>}};
}

}  // namespace oneflow::kernels
