// softmax, log_softmax and their gradients over one dim; cross_entropy (softmax + loss in one pass)
// and its gradient. f32.
//
//   softmax       y = exp(x - max) / sum exp(x - max)         dx = y * (dy - sum(y * dy))
//   log_softmax   y = x - max - log sum exp(x - max)          dx = dy - exp(y) * sum(dy)
//   cross_entropy log_probs as log_softmax, loss = -log_probs[label]
//                                                             dlogits = (exp(log_probs) - onehot) *
//                                                             dloss
// Where the dim is the last one a row is worked on in the nearest cache; else a tile of
// neighbouring columns is gathered into the workspace first. A label outside [0, c) is reported by
// cross_entropy, gives a NaN loss and gradient for its sample and reads nothing out of bounds.
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kLanes = 16;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// f(0) + .. + f(n - 1) in kLanes partial sums, joined in order.
template <typename F>
OF_LOOP float LaneSum(int64_t n, const F& f) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += f(i + l);
  }
  for (int64_t l = 0; i + l < n; ++l) lanes[l] += f(i + l);
  float total = 0;
  for (int64_t l = 0; l < kLanes; ++l) total += lanes[l];
  return total;
}

OF_LOOP float RowMax(const float* x, int64_t n) {
  float lanes[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) lanes[l] = -std::numeric_limits<float>::infinity();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
  }
  for (int64_t l = 0; i + l < n; ++l) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
  float most = lanes[0];
  for (int64_t l = 1; l < kLanes; ++l) most = lanes[l] > most ? lanes[l] : most;
  return most;
}

// Row loops: (a, b, out, n) where b is unused by the forward ones.
struct SoftmaxRow {
  OF_LOOP static void Run(const float* x, const float*, float* y, int64_t n) {
    const float most = RowMax(x, n);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = ExpF(x[i] - most);
    const float scale = 1.0f / LaneSum(n, [&](int64_t i) { return y[i]; });
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] *= scale;
  }
};
struct LogSoftmaxRow {
  OF_LOOP static void Run(const float* x, const float*, float* y, int64_t n) {
    const float most = RowMax(x, n);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = ExpF(x[i] - most);
    const float log_sum = std::log(LaneSum(n, [&](int64_t i) { return y[i]; }));
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] - most - log_sum;
  }
};
struct SoftmaxGradRow {
  OF_LOOP static void Run(const float* y, const float* dy, float* dx, int64_t n) {
    const float dot = LaneSum(n, [&](int64_t i) { return y[i] * dy[i]; });
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = y[i] * (dy[i] - dot);
  }
};
struct LogSoftmaxGradRow {
  OF_LOOP static void Run(const float* y, const float* dy, float* dx, int64_t n) {
    const float total = LaneSum(n, [&](int64_t i) { return dy[i]; });
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] - ExpF(y[i]) * total;
  }
};

// The operand as [outer, extent, inner] around the dim.
struct Around {
  int64_t outer = 1;
  int64_t extent = 1;
  int64_t inner = 1;
};
Around AroundDim(const KernelSpec& spec) {
  const Shape& shape = spec.inputs.at(0).shape;
  Around around;
  if (shape.empty()) return around;
  const int64_t dim = WrapDim(spec.attrs.Int("dim"), shape.size());
  for (int64_t d = 0; d < dim; ++d) around.outer *= shape[d];
  around.extent = shape[dim];
  for (size_t d = dim + 1; d < shape.size(); ++d) around.inner *= shape[d];
  return around;
}

absl::Status CheckSoftmax(const KernelSpec& spec, size_t inputs) {
  SpecCheck check(spec);
  check.Inputs(inputs).Outputs(1).AllF32().Same(check.out(0), check.in(0));
  check.Same(check.in(inputs - 1), check.in(0)).Dim("dim", check.in(0));
  return check.status();
}

// Three rows of floats per thread, where the dim is not the last.
absl::StatusOr<Needs> DescribeSoftmax(const KernelSpec& spec) {
  const Around around = AroundDim(spec);
  if (around.inner == 1) return Needs{};
  return Needs{3 * around.extent * spec.threads * static_cast<int64_t>(sizeof(float)), {}};
}

template <typename Row>
KernelOr MakeSoftmax(const KernelSpec& spec) {
  const Around around = AroundDim(spec);
  const bool two_inputs = spec.inputs.size() > 1;
  const auto loop = Vectorised<Row>();
  const int64_t rows = around.outer * around.inner;
  const int64_t grain = kGrain / 8 / std::max<int64_t>(1, around.extent) + 1;
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const float* a = In<float>(args, 0);
    const float* b = two_inputs ? In<float>(args, 1) : nullptr;
    float* out = Out<float>(args, 0);
    const int64_t n = around.extent;
    ForEachPart(PartsOf(threads, rows, grain), rows, [&](int part, int64_t begin, int64_t end) {
      if (around.inner == 1) {
        for (int64_t row = begin; row < end; ++row) {
          loop(a + row * n, b == nullptr ? nullptr : b + row * n, out + row * n, n);
        }
        return;
      }
      float* space = static_cast<float*>(args.workspace) + part * 3 * n;
      for (int64_t row = begin; row < end; ++row) {
        const int64_t first = row / around.inner * n * around.inner + row % around.inner;
        for (int64_t i = 0; i < n; ++i) space[i] = a[first + i * around.inner];
        if (b != nullptr) {
          for (int64_t i = 0; i < n; ++i) space[n + i] = b[first + i * around.inner];
        }
        loop(space, space + n, space + 2 * n, n);
        for (int64_t i = 0; i < n; ++i) out[first + i * around.inner] = space[2 * n + i];
      }
    });
  });
}

int64_t LabelAt(const void* labels, bool wide, int64_t i) {
  return wide ? static_cast<const int64_t*>(labels)[i] : static_cast<const int32_t*>(labels)[i];
}

// (logits or log_probs [n, c], labels [n]) and others of [n, c] or [n].
SpecCheck CheckLabelled(const KernelSpec& spec, size_t inputs, size_t outputs) {
  SpecCheck check(spec);
  check.Inputs(inputs).Outputs(outputs).Takes(check.in(0), {DType::kF32});
  check.Takes(check.in(1), {DType::kI64, DType::kI32}).Rank(check.in(0), 2, 2);
  if (check.ok()) check.HasShape(check.in(1), {check.in(0).shape[0]});
  return check;
}

// f32[n]: a loss per row.
void CheckPerRow(SpecCheck* check, const Operand& operand) {
  check->Takes(operand, {DType::kF32});
  if (check->ok()) check->HasShape(operand, {check->in(0).shape[0]});
}

absl::Status CheckCrossEntropy(const KernelSpec& spec) {
  SpecCheck check = CheckLabelled(spec, 2, 2);
  CheckPerRow(&check, check.out(0));
  return check.Same(check.out(1), check.in(0)).status();
}

absl::Status CheckCrossEntropyGrad(const KernelSpec& spec) {
  SpecCheck check = CheckLabelled(spec, 3, 1);
  CheckPerRow(&check, check.in(2));
  return check.Same(check.out(0), check.in(0)).status();
}

KernelOr MakeCrossEntropy(const KernelSpec& spec) {
  const int64_t rows = spec.inputs[0].shape.at(0);
  const int64_t c = spec.inputs[0].shape.at(1);
  const bool wide = spec.inputs[1].dtype == DType::kI64;
  const auto loop = Vectorised<LogSoftmaxRow>();
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const float* logits = In<float>(args, 0);
    float* loss = Out<float>(args, 0);
    float* log_probs = Out<float>(args, 1);
    ParallelFor(threads, rows, kGrain / 8 / std::max<int64_t>(1, c) + 1,
                [&](int64_t begin, int64_t end) {
                  for (int64_t row = begin; row < end; ++row) {
                    loop(logits + row * c, nullptr, log_probs + row * c, c);
                    const int64_t label = LabelAt(args.inputs[1], wide, row);
                    const bool legal = label >= 0 && label < c;
                    if (!legal) ReportDataError(args, DataErrorCode::kIndexOutOfRange, label, c);
                    loss[row] = legal ? -log_probs[row * c + label] : kNan;
                  }
                });
  });
}

struct CrossEntropyGradRow {
  OF_LOOP static void Run(const float* log_probs, float dloss, float* dlogits, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dlogits[i] = ExpF(log_probs[i]) * dloss;
  }
};

KernelOr MakeCrossEntropyGrad(const KernelSpec& spec) {
  const int64_t rows = spec.inputs[0].shape.at(0);
  const int64_t c = spec.inputs[0].shape.at(1);
  const bool wide = spec.inputs[1].dtype == DType::kI64;
  const auto loop = Vectorised<CrossEntropyGradRow>();
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const float* log_probs = In<float>(args, 0);
    const float* dloss = In<float>(args, 2);
    float* dlogits = Out<float>(args, 0);
    ParallelFor(threads, rows, kGrain / 8 / std::max<int64_t>(1, c) + 1,
                [&](int64_t begin, int64_t end) {
                  for (int64_t row = begin; row < end; ++row) {
                    const int64_t label = LabelAt(args.inputs[1], wide, row);
                    const bool legal = label >= 0 && label < c;
                    loop(log_probs + row * c, legal ? dloss[row] : kNan, dlogits + row * c, c);
                    if (legal) dlogits[row * c + label] -= dloss[row];
                  }
                });
  });
}

}  // namespace

std::vector<KernelDef> SoftmaxKernels() {
  const auto forward = [](const KernelSpec& spec) { return CheckSoftmax(spec, 1); };
  const auto gradient = [](const KernelSpec& spec) { return CheckSoftmax(spec, 2); };
  return {
      {"softmax", forward, DescribeSoftmax, MakeSoftmax<SoftmaxRow>},
      {"log_softmax", forward, DescribeSoftmax, MakeSoftmax<LogSoftmaxRow>},
      {"softmax_grad", gradient, DescribeSoftmax, MakeSoftmax<SoftmaxGradRow>},
      {"log_softmax_grad", gradient, DescribeSoftmax, MakeSoftmax<LogSoftmaxGradRow>},
      {"cross_entropy", CheckCrossEntropy, NeedsNothing, MakeCrossEntropy},
      {"cross_entropy_grad", CheckCrossEntropyGrad, NeedsNothing, MakeCrossEntropyGrad},
  };
}

}  // namespace oneflow::kernels
