#include "kernels/cpu/elementwise.h"

#include <algorithm>

#include "kernels/cpu/loop_nest.h"
#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kTile = 1024;  // elements

template <typename T>
struct WidenLoop {
  OF_LOOP static void Run(const void* input, float* y, int64_t n) {
    const T* x = static_cast<const T*>(input);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = x[i];
  }
};
template <typename T>
struct NarrowLoop {
  OF_LOOP static void Run(const float* x, void* output, int64_t n) {
    T* y = static_cast<T*>(output);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) Store(x[i], y + i);
  }
};

double ValueOf(const KernelSpec& spec) {
  return spec.attrs.Has("value") ? NumberAttr(spec.attrs, "value") : 0.0;
}

// A row of binary results over a narrow type; `out` is narrow or, where `bytes_out` is 1, bool.
void RunNarrowRow(const Narrow& type, BinaryRun loop, const char* a, bool repeat_a, const char* b,
                  bool repeat_b, char* out, int64_t bytes_out, double value, int64_t n) {
  float left[kTile], right[kTile], result[kTile];
  if (repeat_a) type.widen(a, left, 1);
  if (repeat_b) type.widen(b, right, 1);
  for (int64_t i = 0; i < n; i += kTile) {
    const int64_t count = std::min(kTile, n - i);
    if (!repeat_a) type.widen(a + 2 * i, left, count);
    if (!repeat_b) type.widen(b + 2 * i, right, count);
    if (bytes_out == 1) {
      loop(left, right, out + i, value, count);
    } else {
      loop(left, right, result, value, count);
      type.narrow(result, out + 2 * i, count);
    }
  }
}

}  // namespace

Narrow NarrowOf(DType dtype) {
  if (dtype == DType::kBF16) return {Vectorised<WidenLoop<BF16>>(), Vectorised<NarrowLoop<BF16>>()};
  if (dtype == DType::kF16) return {Vectorised<WidenLoop<F16>>(), Vectorised<NarrowLoop<F16>>()};
  return {};
}

KernelOr MakeUnary(const KernelSpec& spec, UnaryRun loop, int64_t grain) {
  const DType dtype = spec.inputs.at(0).dtype;
  if (loop == nullptr) return UnsupportedDType(spec, dtype);
  const int64_t n = NumElements(spec.outputs.at(0).shape);
  const int64_t bytes = SizeOf(dtype);
  const Narrow type = NarrowOf(dtype);
  return KernelOf([=, value = ValueOf(spec), threads = spec.threads](const KernelArgs& args) {
    const char* x = In<char>(args, 0);
    char* y = Out<char>(args, 0);
    ParallelFor(threads, n, grain, [&](int64_t begin, int64_t end) {
      if (!type) {
        loop(x + begin * bytes, y + begin * bytes, value, end - begin);
        return;
      }
      float tile[kTile];
      for (int64_t i = begin; i < end; i += kTile) {
        const int64_t count = std::min(kTile, end - i);
        type.widen(x + 2 * i, tile, count);
        loop(tile, tile, value, count);
        type.narrow(tile, y + 2 * i, count);
      }
    });
  });
}

SpecCheck CheckBroadcast(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.NumberOr("value", 0);
  check.Inputs(2).Outputs(1).Require(check.in(0).dtype == check.in(1).dtype,
                                     "both operands have one dtype");
  check.Broadcasts(check.in(0).shape, check.out(0).shape);
  check.Broadcasts(check.in(1).shape, check.out(0).shape);
  return check;
}

KernelOr MakeBinary(const KernelSpec& spec, const BinaryRuns& loops) {
  const DType dtype = spec.inputs.at(0).dtype;
  if (loops.dense == nullptr) return UnsupportedDType(spec, dtype);
  const Shape& shape = spec.outputs.at(0).shape;
  const LoopNest<3> nest(shape,
                         {BroadcastStrides(spec.inputs.at(0).shape, shape),
                          BroadcastStrides(spec.inputs.at(1).shape, shape), StridesOf(shape)});
  const bool repeat_a = nest.inner_stride(0) == 0;
  const bool repeat_b = nest.inner_stride(1) == 0;
  const BinaryRun loop = repeat_a == repeat_b ? loops.dense
                         : repeat_a           ? loops.repeat_a
                                              : loops.repeat_b;
  const int64_t bytes = SizeOf(dtype);
  const int64_t bytes_out = SizeOf(spec.outputs[0].dtype);
  const Narrow type = NarrowOf(dtype);
  return KernelOf([=, value = ValueOf(spec), threads = spec.threads](const KernelArgs& args) {
    nest.ParallelRows(threads, kGrain, [&](const std::array<int64_t, 3>& at, int64_t n) {
      const char* a = In<char>(args, 0) + at[0] * bytes;
      const char* b = In<char>(args, 1) + at[1] * bytes;
      char* out = Out<char>(args, 0) + at[2] * bytes_out;
      // Two repeated elements give one result, which is repeated.
      const int64_t count = repeat_a && repeat_b ? std::min<int64_t>(n, 1) : n;
      if (type) {
        RunNarrowRow(type, loop, a, repeat_a, b, repeat_b, out, bytes_out, value, count);
      } else {
        loop(a, b, out, value, count);
      }
      for (int64_t i = count; i < n; ++i) std::copy_n(out, bytes_out, out + i * bytes_out);
    });
  });
}

}  // namespace oneflow::kernels
