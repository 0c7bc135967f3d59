// dropout: y = keep ? x / (1 - p) : 0, and its gradient, which is the same function of dy.
//
// keep is word (i % 4) of the Philox block i / 4 >= p * 2^32, where i is the element's index in the
// *logical* tensor: the mask depends on (seed, key, step, index) alone, never on the layout, and is
// drawn again in the backward pass instead of being kept. 8 bytes per element; sixteen blocks at a
// time.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/hash.h"
#include "base/philox.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/loop_nest.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kBlocks = 16;

// words[4 * b + w]: word w of block first + b.
OF_LOOP void DrawBlocks(uint64_t key, uint64_t step, uint64_t first, uint32_t* words) {
  uint32_t c0[kBlocks], c1[kBlocks], c2[kBlocks], c3[kBlocks];
#pragma omp simd
  for (int64_t b = 0; b < kBlocks; ++b) {
    const uint64_t block = first + b;
    c0[b] = static_cast<uint32_t>(block);
    c1[b] = static_cast<uint32_t>(block >> 32);
    c2[b] = static_cast<uint32_t>(step);
    c3[b] = static_cast<uint32_t>(step >> 32);
  }
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
#pragma omp simd
    for (int64_t b = 0; b < kBlocks; ++b) {
      const uint64_t product0 = static_cast<uint64_t>(kPhiloxMultiplier0) * c0[b];
      const uint64_t product1 = static_cast<uint64_t>(kPhiloxMultiplier1) * c2[b];
      const uint32_t next0 = static_cast<uint32_t>(product1 >> 32) ^ c1[b] ^ k0;
      const uint32_t next2 = static_cast<uint32_t>(product0 >> 32) ^ c3[b] ^ k1;
      c1[b] = static_cast<uint32_t>(product1);
      c3[b] = static_cast<uint32_t>(product0);
      c0[b] = next0;
      c2[b] = next2;
    }
    k0 += kPhiloxWeyl0;
    k1 += kPhiloxWeyl1;
  }
  for (int64_t b = 0; b < kBlocks; ++b) {
    words[4 * b] = c0[b];
    words[4 * b + 1] = c1[b];
    words[4 * b + 2] = c2[b];
    words[4 * b + 3] = c3[b];
  }
}

// n elements whose logical indices are first, first + 1, ..
template <typename T>
struct DropoutLoop {
  OF_LOOP static void Run(const T* x, T* y, int64_t n, uint64_t first, uint64_t key, uint64_t step,
                          uint32_t threshold, float scale) {
    uint32_t words[4 * kBlocks];
    uint64_t block = first / 4;
    int64_t skip = static_cast<int64_t>(first % 4);
    for (int64_t done = 0; done < n; block += kBlocks, skip = 0) {
      DrawBlocks(key, step, block, words);
      const int64_t count = std::min(4 * kBlocks - skip, n - done);
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) {
        const Compute<T> kept = x[done + i] * scale;
        y[done + i] = T(words[skip + i] >= threshold ? kept : 0);
      }
      done += count;
    }
  }
};

uint64_t KeyAttr(const Attrs& attrs, const std::string& name) {
  const auto it = attrs.values().find(name);
  if (it != attrs.values().end() && std::holds_alternative<std::string>(it->second)) {
    return HashBytes(std::get<std::string>(it->second));
  }
  return static_cast<uint64_t>(attrs.Int(name));
}

absl::Status CheckDropout(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1).Same(check.out(0), check.in(0));
  check.Takes(check.in(0), {DType::kF32, DType::kF64, DType::kBF16, DType::kF16});
  check.Placed(check.in(0)).Scalar(check.in(1), DType::kI64);
  const double p = check.Number("p");
  check.Require(p >= 0 && p <= 1, "p is a probability");
  return check.IntOrText("seed").IntOrText("key").status();
}

template <typename T>
std::unique_ptr<Kernel> MakeDropoutOf(const KernelSpec& spec) {
  const Operand& x = spec.inputs[0];
  const double p = NumberAttr(spec.attrs, "p");
  const bool drops_all = p >= 1;
  const double threshold_exact = std::nearbyint(std::clamp(p, 0.0, 1.0) * 4294967296.0);
  const uint32_t threshold =
      drops_all ? 0 : static_cast<uint32_t>(std::min(threshold_exact, 4294967295.0));
  const float scale = drops_all ? 0.0f : static_cast<float>(1.0 / (1.0 - p));
  const uint64_t key = PhiloxKey(KeyAttr(spec.attrs, "seed"), KeyAttr(spec.attrs, "key"));

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
    if (drops_all) {
      std::fill_n(out, elements, T(0.0f));
      return;
    }
    const int64_t base = begin + micro_stride * args.micro;
    // Logical neighbours: the innermost dim of the logical tensor is 1 apart; a nest whose
    // innermost stride is not 1 (a shard one element wide) is walked element by element.
    const int64_t stride = nest.inner_stride(1);
    nest.ParallelRows(threads, kGrain / 4, [&](const auto& at, int64_t n) {
      if (stride == 1 || n == 1) {
        loop(in + at[0], out + at[0], n, static_cast<uint64_t>(base + at[1]), key, step, threshold,
             scale);
        return;
      }
      for (int64_t i = 0; i < n; ++i) {
        loop(in + at[0] + i, out + at[0] + i, 1, static_cast<uint64_t>(base + at[1] + i * stride),
             key, step, threshold, scale);
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
