// softmax, log_softmax and their gradients over one dim; cross_entropy and its gradient. Computed in f32
// (f64 for f64).
//
//   softmax       y = exp(x - max) / sum exp(x - max)         dx = y * (dy - sum(y * dy))
//   log_softmax   y = x - max - log sum exp(x - max)          dx = dy - exp(y) * sum(dy)
//   cross_entropy lse = max + log sum exp(x - max), loss = lse - x[label]
//                 dx = exp(x - lse) * (dloss + dlse) - onehot * dloss
// Where the dim is the last one a row is worked on in the nearest cache; else tiles of neighbouring
// columns are, in passes over the dim. A label outside [0, classes) is reported by
// cross_entropy, gives a NaN loss and gradient for its sample and reads nothing out of bounds.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/lines.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/row_sums.h"

namespace oneflow::kernels {
namespace {

template <typename C>
constexpr C kNan = std::numeric_limits<C>::quiet_NaN();

// Row loops: (a, b, out, n) where b is unused by the forward ones.
template <typename C>
struct SoftmaxRow {
  OF_LOOP static void Run(const C* x, const C*, C* y, int64_t n) {
    const C most = RowMax(x, n);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = ExpOf(x[i] - most);
    const C scale = C{1} / LaneSum<C>(n, [&](int64_t i) { return y[i]; });
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] *= scale;
  }
};
template <typename C>
struct LogSoftmaxRow {
  OF_LOOP static void Run(const C* x, const C*, C* y, int64_t n) {
    const C most = RowMax(x, n);
    const C log_sum = std::log(LaneSum<C>(n, [&](int64_t i) { return ExpOf(x[i] - most); }));
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] - most - log_sum;
  }
};
template <typename C>
struct SoftmaxGradRow {
  OF_LOOP static void Run(const C* y, const C* dy, C* dx, int64_t n) {
    const C dot = LaneSum<C>(n, [&](int64_t i) { return y[i] * dy[i]; });
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = y[i] * (dy[i] - dot);
  }
};
template <typename C>
struct LogSoftmaxGradRow {
  OF_LOOP static void Run(const C* y, const C* dy, C* dx, int64_t n) {
    const C total = LaneSum<C>(n, [&](int64_t i) { return dy[i]; });
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] - ExpOf(y[i]) * total;
  }
};

// Column loops: n rows `stride` apart, of `width` neighbouring columns each, worked on together: a, b
// and out as the row loops have them. `space`: two numbers per column.
constexpr int64_t kColumns = 64;

template <typename C, bool kLog>
struct ForwardColumns {
  OF_LOOP static void Run(const C* x, const C*, C* y, int64_t n, int64_t stride, int64_t width,
                          C* space) {
    C* most = space;
    C* sum = space + kColumns;
    for (int64_t j = 0; j < width; ++j) {
      most[j] = -std::numeric_limits<C>::infinity();
      sum[j] = 0;
    }
    for (int64_t i = 0; i < n; ++i) {
      const C* row = x + i * stride;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) most[j] = row[j] > most[j] ? row[j] : most[j];
    }
    for (int64_t i = 0; i < n; ++i) {
      const C* row = x + i * stride;
      C* to = y + i * stride;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) {
        const C e = ExpOf(row[j] - most[j]);
        sum[j] += e;
        to[j] = kLog ? row[j] - most[j] : e;
      }
    }
    for (int64_t j = 0; j < width; ++j) sum[j] = kLog ? std::log(sum[j]) : C{1} / sum[j];
    for (int64_t i = 0; i < n; ++i) {
      C* to = y + i * stride;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) to[j] = kLog ? to[j] - sum[j] : to[j] * sum[j];
    }
  }
};

template <typename C, bool kLog>
struct BackwardColumns {
  OF_LOOP static void Run(const C* y, const C* dy, C* dx, int64_t n, int64_t stride, int64_t width,
                          C* space) {
    C* sum = space;
    for (int64_t j = 0; j < width; ++j) sum[j] = 0;
    for (int64_t i = 0; i < n; ++i) {
      const C* of = dy + i * stride;
      const C* row = y + i * stride;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) sum[j] += kLog ? of[j] : of[j] * row[j];
    }
    for (int64_t i = 0; i < n; ++i) {
      const C* of = dy + i * stride;
      const C* row = y + i * stride;
      C* to = dx + i * stride;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) {
        to[j] = kLog ? of[j] - ExpOf(row[j]) * sum[j] : row[j] * (of[j] - sum[j]);
      }
    }
  }
};

// The loops of one op.
template <typename C>
struct SoftmaxLoops {
  using Row = SoftmaxRow<C>;
  using Columns = ForwardColumns<C, false>;
};
template <typename C>
struct LogSoftmaxLoops {
  using Row = LogSoftmaxRow<C>;
  using Columns = ForwardColumns<C, true>;
};
template <typename C>
struct SoftmaxGradLoops {
  using Row = SoftmaxGradRow<C>;
  using Columns = BackwardColumns<C, false>;
};
template <typename C>
struct LogSoftmaxGradLoops {
  using Row = LogSoftmaxGradRow<C>;
  using Columns = BackwardColumns<C, true>;
};

absl::Status CheckSoftmax(const KernelSpec& spec, size_t inputs) {
  SpecCheck check(spec);
  check.Inputs(inputs).Outputs(1).Same(check.out(0), check.in(0));
  check.Takes(check.in(0), {DType::kF32, DType::kF64, DType::kBF16, DType::kF16});
  check.Same(check.in(inputs - 1), check.in(0)).Dim("dim", check.in(0));
  return check.status();
}

// True if rows are copied to be worked on: their elements are of a narrow type.
bool IsGathered(const KernelSpec& spec) { return SizeOf(spec.inputs.at(0).dtype) == 2; }

// Three rows per thread where they are copied.
absl::StatusOr<Needs> DescribeSoftmax(const KernelSpec& spec) {
  if (!IsGathered(spec)) return Needs{};
  const int64_t element = std::max(SizeOf(DType::kF32), SizeOf(spec.inputs.at(0).dtype));
  return Needs{3 * Lines::Along(spec).extent * spec.threads * element, {}};
}

// Rows of a narrow type are copied into the workspace, one by one.
template <typename Row, typename T>
std::unique_ptr<Kernel> MakeGathered(const KernelSpec& spec, const Lines& around, int64_t grain) {
  using C = Compute<T>;
  const auto loop = Vectorised<Row>();
  const bool two_inputs = spec.inputs.size() > 1;
  const int64_t rows = around.count();
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const T* a = In<T>(args, 0);
    const T* b = two_inputs ? In<T>(args, 1) : nullptr;
    T* out = Out<T>(args, 0);
    const int64_t n = around.extent;
    ForEachPart(PartsOf(threads, rows, grain), rows, [&](int part, int64_t begin, int64_t end) {
      C* space = static_cast<C*>(args.workspace) + part * 3 * n;
      for (int64_t row = begin; row < end; ++row) {
        const int64_t first = around.First(row);
        for (int64_t i = 0; i < n; ++i) space[i] = a[first + i * around.inner];
        if (b != nullptr) {
          for (int64_t i = 0; i < n; ++i) space[n + i] = b[first + i * around.inner];
        }
        loop(space, space + n, space + 2 * n, n);
        for (int64_t i = 0; i < n; ++i) out[first + i * around.inner] = T(space[2 * n + i]);
      }
    });
  });
}

// Columns of kColumns neighbours at a time.
template <typename Columns, typename C>
std::unique_ptr<Kernel> MakeColumns(const KernelSpec& spec, const Lines& around, int64_t grain) {
  const auto loop = Vectorised<Columns>();
  const bool two_inputs = spec.inputs.size() > 1;
  const int64_t tiles = (around.inner + kColumns - 1) / kColumns;
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const C* a = In<C>(args, 0);
    const C* b = two_inputs ? In<C>(args, 1) : a;
    C* out = Out<C>(args, 0);
    const int64_t items = around.outer * tiles;
    const int parts = PartsOf(threads, around.count(), grain);
    ForEachPart(parts, items, [&](int, int64_t begin, int64_t end) {
      C space[2 * kColumns];
      for (int64_t item = begin; item < end; ++item) {
        const int64_t column = item % tiles * kColumns;
        const int64_t at = item / tiles * around.extent * around.inner + column;
        loop(a + at, b + at, out + at, around.extent, around.inner,
             std::min(kColumns, around.inner - column), space);
      }
    });
  });
}

template <typename Row, typename C>
std::unique_ptr<Kernel> MakeRows(const KernelSpec& spec, const Lines& around, int64_t grain) {
  const auto loop = Vectorised<Row>();
  const bool two_inputs = spec.inputs.size() > 1;
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const C* a = In<C>(args, 0);
    const C* b = two_inputs ? In<C>(args, 1) : nullptr;
    C* out = Out<C>(args, 0);
    const int64_t n = around.extent;
    ParallelFor(threads, around.outer, grain, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        loop(a + row * n, b == nullptr ? nullptr : b + row * n, out + row * n, n);
      }
    });
  });
}

template <template <typename> class Loops>
KernelOr MakeSoftmax(const KernelSpec& spec) {
  const Lines around = Lines::Along(spec);
  const int64_t grain = kGrain / 8 / std::max<int64_t>(1, around.extent) + 1;
  return DispatchFloats(spec, [&]<typename T>() -> KernelOr {
    using C = Compute<T>;
    if constexpr (!std::is_same_v<T, C>) {
      return MakeGathered<typename Loops<C>::Row, T>(spec, around, grain);
    } else if (around.inner == 1) {
      return MakeRows<typename Loops<C>::Row, C>(spec, around, grain);
    } else {
      return MakeColumns<typename Loops<C>::Columns, C>(spec, around, grain);
    }
  });
}

// (logits [n, c], labels [n]) and others of [n], in the type of sums.
SpecCheck CheckLabelled(const KernelSpec& spec, size_t least, size_t most, size_t outputs) {
  SpecCheck check(spec);
  check.Inputs(least, most).Outputs(outputs);
  check.Takes(check.in(0), {DType::kF32, DType::kF64, DType::kBF16, DType::kF16});
  check.Takes(check.in(1), {DType::kI64, DType::kI32}).Rank(check.in(0), 2, 2);
  if (!check.ok()) return check;
  check.HasShape(check.in(1), {check.in(0).shape[0]});
  check.IntOr("classes", 0, 0, check.in(0).shape[1]);
  return check;
}

void CheckPerRow(SpecCheck* check, const Operand& operand) {
  check->Takes(operand, {check->in(0).dtype == DType::kF64 ? DType::kF64 : DType::kF32});
  if (check->ok()) check->HasShape(operand, {check->in(0).shape[0]});
}

absl::Status CheckCrossEntropy(const KernelSpec& spec) {
  SpecCheck check = CheckLabelled(spec, 2, 2, 2);
  for (size_t i = 0; i < 2; ++i) CheckPerRow(&check, check.out(i));
  return check.status();
}

absl::Status CheckCrossEntropyGrad(const KernelSpec& spec) {
  SpecCheck check = CheckLabelled(spec, 4, 5, 1);
  for (size_t i = 2; i < spec.inputs.size(); ++i) CheckPerRow(&check, check.in(i));
  return check.Same(check.out(0), check.in(0)).status();
}

// Rows of `stride` elements of which the first `classes` count.
struct LabelledRows {
  int64_t rows, stride, classes;
  bool wide;  // labels

  explicit LabelledRows(const KernelSpec& spec)
      : rows(spec.inputs.at(0).shape.at(0)),
        stride(spec.inputs[0].shape.at(1)),
        classes(spec.attrs.Has("classes") ? spec.attrs.Int("classes") : 0),
        wide(IsWide(spec.inputs.at(1))) {
    if (classes == 0) classes = stride;
  }
  int64_t grain() const { return kGrain / 8 / std::max<int64_t>(1, stride) + 1; }
};

// sums = {max, log(sum(exp(x - max)))}.
template <typename T>
struct LogSumRow {
  using C = Compute<T>;
  OF_LOOP static void Run(const T* x, int64_t n, C* sums) {
    const C most = LaneMax<C>(n, [&](int64_t i) { return static_cast<C>(x[i]); });
    sums[0] = most;
    sums[1] =
        std::log(LaneSum<C>(n, [&](int64_t i) { return ExpOf(static_cast<C>(x[i]) - most); }));
  }
};

template <typename T>
KernelOr MakeCrossEntropyOf(const KernelSpec& spec) {
  using C = Compute<T>;
  const LabelledRows in(spec);
  const auto loop = Vectorised<LogSumRow<T>>();
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const T* logits = In<T>(args, 0);
    C* loss = Out<C>(args, 0);
    C* lse = Out<C>(args, 1);
    ParallelFor(threads, in.rows, in.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* x = logits + row * in.stride;
        C sums[2];
        loop(x, in.classes, sums);
        const int64_t label = IndexReader(args.inputs[1], in.wide)[row];
        const bool legal = label >= 0 && label < in.classes;
        if (!legal) ReportDataError(args, DataErrorCode::kIndexOutOfRange, label, in.classes);
        // Not lse - x[label]: that loses what max + log(sum) rounds off.
        loss[row] = legal ? sums[0] - static_cast<C>(x[label]) + sums[1] : kNan<C>;
        lse[row] = sums[0] + sums[1];
      }
    });
  });
}

// dx may be x.
template <typename T>
struct CrossEntropyGradRow {
  using C = Compute<T>;
  OF_LOOP static void Run(const T* x, C lse, C scale, T* dx, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) Store<T>(ExpOf(static_cast<C>(x[i]) - lse) * scale, dx + i);
  }
};

template <typename T>
KernelOr MakeCrossEntropyGradOf(const KernelSpec& spec) {
  using C = Compute<T>;
  const LabelledRows in(spec);
  const bool has_dlse = spec.inputs.size() > 4;
  const auto loop = Vectorised<CrossEntropyGradRow<T>>();
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const T* logits = In<T>(args, 0);
    const C* lse = In<C>(args, 2);
    const C* dloss = In<C>(args, 3);
    const C* dlse = has_dlse ? In<C>(args, 4) : nullptr;
    T* dlogits = Out<T>(args, 0);
    ParallelFor(threads, in.rows, in.grain(), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* x = logits + row * in.stride;
        T* dx = dlogits + row * in.stride;
        const int64_t label = IndexReader(args.inputs[1], in.wide)[row];
        const bool legal = label >= 0 && label < in.classes;
        const C scale = dlse == nullptr ? dloss[row] : dloss[row] + dlse[row];
        // Read before the row is written over, and rounded once.
        const C hit = legal ? ExpOf(static_cast<C>(x[label]) - lse[row]) * scale - dloss[row] : 0;
        loop(x, lse[row], legal ? scale : kNan<C>, dx, in.classes);
        if (legal) dx[label] = T(hit);
        std::fill(dx + in.classes, dx + in.stride, T(C{0}));
      }
    });
  });
}

// No workspace; the output may be the buffer of the input.
absl::StatusOr<Needs> Over(int output, int input) { return Needs{0, {{output, input}}}; }

KernelOr MakeCrossEntropy(const KernelSpec& spec) {
  return DispatchFloats(spec, [&]<typename T>() { return MakeCrossEntropyOf<T>(spec); });
}
KernelOr MakeCrossEntropyGrad(const KernelSpec& spec) {
  return DispatchFloats(spec, [&]<typename T>() { return MakeCrossEntropyGradOf<T>(spec); });
}

}  // namespace

std::vector<KernelDef> SoftmaxKernels() {
  const auto forward = [](const KernelSpec& spec) { return CheckSoftmax(spec, 1); };
  const auto gradient = [](const KernelSpec& spec) { return CheckSoftmax(spec, 2); };
  return {
      {"softmax", forward, DescribeSoftmax, MakeSoftmax<SoftmaxLoops>},
      {"log_softmax", forward, DescribeSoftmax, MakeSoftmax<LogSoftmaxLoops>},
      {"softmax_grad", gradient, DescribeSoftmax, MakeSoftmax<SoftmaxGradLoops>},
      {"log_softmax_grad", gradient, DescribeSoftmax, MakeSoftmax<LogSoftmaxGradLoops>},
      {"cross_entropy", CheckCrossEntropy, NeedsNothing, MakeCrossEntropy},
      // Scores of a vocabulary are the largest value of a model: one buffer holds them and their
      // gradient.
      {"cross_entropy_grad", CheckCrossEntropyGrad, [](const KernelSpec&) { return Over(0, 0); },
       MakeCrossEntropyGrad},
  };
}

}  // namespace oneflow::kernels
