// layer_norm and rms_norm over rows (the last dims), and their gradients.
//
//   xhat = (x - mean) * rstd           rstd = 1 / sqrt(variance + eps); rms_norm has mean = 0
//   y = xhat * weight + bias
//   dx = rstd * (g - mean(g) - xhat * mean(g * xhat)), g = dy * weight; rms_norm lacks mean(g)
//   dweight = sum dy * xhat, dbias = sum dy over rows
// Computed in f32 (f64 for f64). A row is read from memory once and worked on in the nearest cache: 2
// operands forward, 3 backward. Sums over rows are made of blocks of kBlock additions in the compute
// type whose results are added in f64.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/row_sums.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kBlock = 128;  // rows that are added in the compute type

template <typename C, bool kCentered>
struct ForwardRow {
  // y may not be x. `stats`: mean and rstd.
  OF_LOOP static void Run(const C* x, const C* weight, const C* bias, C eps, C* y, C* stats,
                          int64_t n) {
    const C count = static_cast<C>(n);
    const C mean = kCentered ? LaneSum<C>(n, [&](int64_t i) { return x[i]; }) / count : C{0};
    const C square = LaneSum<C>(n, [&](int64_t i) { return (x[i] - mean) * (x[i] - mean); });
    const C rstd = C{1} / std::sqrt(square / count + eps);
    if (weight == nullptr) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd;
    } else if (bias == nullptr) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd * weight[i];
    } else {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
    }
    stats[0] = mean;
    stats[1] = rstd;
  }
};

template <typename C, bool kCentered>
struct BackwardRow {
  OF_LOOP static void Run(const C* x, const C* dy, const C* weight, C mean, C rstd, C* dx,
                          int64_t n) {
    const auto gradient = [&](int64_t i) { return weight == nullptr ? dy[i] : dy[i] * weight[i]; };
    const C count = static_cast<C>(n);
    const C along = LaneSum<C>(n, [&](int64_t i) { return gradient(i) * (x[i] - mean); });
    const C slope = along * rstd * rstd / count;
    const C shift = kCentered ? LaneSum<C>(n, gradient) / count : C{0};
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      dx[i] = rstd * (gradient(i) - shift - (x[i] - mean) * slope);
    }
  }
};

template <typename C>
struct WeightRow {
  OF_LOOP static void Run(const C* x, const C* dy, C mean, C rstd, C* dweight, C* dbias,
                          int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      dweight[i] += dy[i] * (x[i] - mean) * rstd;
      dbias[i] += dy[i];
    }
  }
};

template <typename C>
struct FlushRow {
  OF_LOOP static void Run(C* block, double* total, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      total[i] += block[i];
      block[i] = 0;
    }
  }
};

struct Rows {
  int64_t rows = 1, n = 1;
};
Rows RowsOf(const KernelSpec& spec) {
  const Shape& shape = spec.inputs.at(0).shape;
  const size_t lead = shape.size() - static_cast<size_t>(spec.attrs.Int("dims"));
  Rows rows;
  for (size_t d = 0; d < shape.size(); ++d) (d < lead ? rows.rows : rows.n) *= shape[d];
  return rows;
}

int PartsFor(const KernelSpec& spec, const Rows& rows) {
  return PartsOf(spec.threads, rows.rows, kGrain / 4 / std::max<int64_t>(1, rows.n) + 1);
}

// Rows of T as rows of its compute type: in place, or copied into a thread's space.
template <typename T>
class RowReader {
 public:
  using C = Compute<T>;
  static constexpr bool kCopies = !std::is_same_v<T, C>;
  explicit RowReader(Narrow type, int64_t n) : type_(type), n_(n) {}

  const C* Read(const T* row, C* space) const {
    if constexpr (kCopies) {
      type_.widen(row, space, n_);
      return space;
    } else {
      return row;
    }
  }
  // Where a row is to be computed, and what brings it home.
  C* Home(T* row, C* space) const {
    if constexpr (kCopies) {
      return space;
    } else {
      return row;
    }
  }
  void Write(const C* space, T* row) const {
    if constexpr (kCopies) type_.narrow(space, row, n_);
  }

 private:
  Narrow type_;
  int64_t n_;
};

// ---- Checks: x, [dy, statistics], [weight, bias] ----

// x and the number of its last dims that are normalised.
SpecCheck CheckNormalised(const KernelSpec& spec, size_t least, size_t most, size_t outputs) {
  SpecCheck check(spec);
  check.Inputs(least, most).Outputs(outputs);
  check.Takes(check.in(0), {DType::kF32, DType::kF64, DType::kBF16, DType::kF16});
  check.Rank(check.in(0), 1, kMaxRank);
  if (check.ok()) check.Int("dims", 1, static_cast<int64_t>(check.in(0).shape.size()));
  return check;
}

void CheckStats(SpecCheck* check, const Operand& operand) {
  if (!check->ok()) return;
  const Shape& x = check->in(0).shape;
  check->Takes(operand, {StatsType(check->in(0).dtype)});
  check->HasShape(operand, Shape(x.begin(), x.end() - check->spec().attrs.Int("dims")));
}

void CheckTail(SpecCheck* check, const Operand& operand) {
  if (!check->ok()) return;
  const Shape& x = check->in(0).shape;
  check->Takes(operand, {check->in(0).dtype});
  check->HasShape(operand, Shape(x.end() - check->spec().attrs.Int("dims"), x.end()));
}

template <bool kCentered>
absl::Status CheckForward(const KernelSpec& spec) {
  SpecCheck check = CheckNormalised(spec, 1, kCentered ? 3 : 2, kCentered ? 3 : 2);
  check.NumberOr("eps", 1e-5);
  check.Same(check.out(0), check.in(0));
  for (size_t i = 1; i < (kCentered ? 3 : 2); ++i) CheckStats(&check, check.out(i));
  for (size_t i = 1; i < spec.inputs.size(); ++i) CheckTail(&check, check.in(i));
  return check.status();
}

template <bool kCentered>
SpecCheck CheckSaved(const KernelSpec& spec, size_t more, size_t outputs) {
  constexpr size_t kStats = kCentered ? 2 : 1;
  SpecCheck check = CheckNormalised(spec, 2 + kStats, 2 + kStats + more, outputs);
  check.Same(check.in(1), check.in(0));
  for (size_t i = 2; i < 2 + kStats; ++i) CheckStats(&check, check.in(i));
  return check;
}

template <bool kCentered>
absl::Status CheckBackward(const KernelSpec& spec) {
  SpecCheck check = CheckSaved<kCentered>(spec, 1, 1);
  if (spec.inputs.size() > (kCentered ? 4 : 3)) CheckTail(&check, check.in(kCentered ? 4 : 3));
  return check.Same(check.out(0), check.in(0)).status();
}

template <bool kCentered>
absl::Status CheckWeight(const KernelSpec& spec) {
  SpecCheck check = CheckSaved<kCentered>(spec, 0, kCentered ? 2 : 1);
  for (size_t i = 0; i < (kCentered ? 2 : 1); ++i) CheckTail(&check, check.out(i));
  return check.status();
}

// ---- Kernels ----

// Rows of the compute type per thread where rows are copied, and as many shared ones.
template <int kRows, int kShared>
absl::StatusOr<Needs> DescribeRows(const KernelSpec& spec) {
  if (SizeOf(spec.inputs.at(0).dtype) != 2) return Needs{};
  const int64_t bytes = RowsOf(spec).n * static_cast<int64_t>(sizeof(float));
  return Needs{bytes * (kRows * spec.threads + kShared), {}};
}

template <typename T, bool kCentered>
std::unique_ptr<Kernel> MakeForward(const KernelSpec& spec) {
  using C = Compute<T>;
  const Rows rows = RowsOf(spec);
  const RowReader<T> reader(NarrowOf(spec.inputs[0].dtype), rows.n);
  const auto loop = Vectorised<ForwardRow<C, kCentered>>();
  const bool has_weight = spec.inputs.size() > 1;
  const bool has_bias = spec.inputs.size() > 2;
  const C eps = static_cast<C>(spec.attrs.Has("eps") ? NumberAttr(spec.attrs, "eps") : 1e-5);
  const int parts = PartsFor(spec, rows);
  return KernelOf([=](const KernelArgs& args) {
    const T* x = In<T>(args, 0);
    T* y = Out<T>(args, 0);
    C* shared = static_cast<C*>(args.workspace);
    const C* weight = has_weight ? reader.Read(In<T>(args, 1), shared) : nullptr;
    const C* bias = has_bias ? reader.Read(In<T>(args, 2), shared + rows.n) : nullptr;
    C* mean = kCentered ? Out<C>(args, 1) : nullptr;
    C* rstd = Out<C>(args, kCentered ? 2 : 1);
    ForEachPart(parts, rows.rows, [&](int part, int64_t begin, int64_t end) {
      C* space = shared + (2 + 2 * part) * rows.n;
      for (int64_t row = begin; row < end; ++row) {
        C stats[2];
        C* out = reader.Home(y + row * rows.n, space + rows.n);
        loop(reader.Read(x + row * rows.n, space), weight, bias, eps, out, stats, rows.n);
        reader.Write(out, y + row * rows.n);
        if (kCentered) mean[row] = stats[0];
        rstd[row] = stats[1];
      }
    });
  });
}

template <typename T, bool kCentered>
std::unique_ptr<Kernel> MakeBackward(const KernelSpec& spec) {
  using C = Compute<T>;
  constexpr int kWeight = kCentered ? 4 : 3;
  const Rows rows = RowsOf(spec);
  const RowReader<T> reader(NarrowOf(spec.inputs[0].dtype), rows.n);
  const auto loop = Vectorised<BackwardRow<C, kCentered>>();
  const bool has_weight = spec.inputs.size() > kWeight;
  const int parts = PartsFor(spec, rows);
  return KernelOf([=](const KernelArgs& args) {
    const T* x = In<T>(args, 0);
    const T* dy = In<T>(args, 1);
    T* dx = Out<T>(args, 0);
    const C* mean = kCentered ? In<C>(args, 2) : nullptr;
    const C* rstd = In<C>(args, kCentered ? 3 : 2);
    C* shared = static_cast<C*>(args.workspace);
    const C* weight = has_weight ? reader.Read(In<T>(args, kWeight), shared) : nullptr;
    ForEachPart(parts, rows.rows, [&](int part, int64_t begin, int64_t end) {
      C* space = shared + (1 + 3 * part) * rows.n;
      for (int64_t row = begin; row < end; ++row) {
        const int64_t at = row * rows.n;
        C* out = reader.Home(dx + at, space + 2 * rows.n);
        loop(reader.Read(x + at, space), reader.Read(dy + at, space + rows.n), weight,
             kCentered ? mean[row] : C{0}, rstd[row], out, rows.n);
        reader.Write(out, dx + at);
      }
    });
  });
}

// Of each thread: a block and a total for dweight and dbias; where rows are copied two more rows.
struct WeightSpace {
  int64_t totals, blocks, rows, per_part;  // bytes
};
WeightSpace WeightSpaceOf(const KernelSpec& spec) {
  const int64_t n = RowsOf(spec).n;
  const int64_t element = SizeOf(StatsType(spec.inputs.at(0).dtype));
  const auto aligned = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
  WeightSpace space{};
  space.blocks = aligned(2 * n * 8);
  space.rows = space.blocks + aligned(2 * n * element);
  space.per_part = space.rows + (SizeOf(spec.inputs[0].dtype) == 2 ? aligned(2 * n * 4) : 0);
  return space;
}
absl::StatusOr<Needs> DescribeWeight(const KernelSpec& spec) {
  return Needs{WeightSpaceOf(spec).per_part * PartsFor(spec, RowsOf(spec)), {}};
}

template <typename T, bool kCentered>
std::unique_ptr<Kernel> MakeWeight(const KernelSpec& spec) {
  using C = Compute<T>;
  const Rows rows = RowsOf(spec);
  const WeightSpace space = WeightSpaceOf(spec);
  const RowReader<T> reader(NarrowOf(spec.inputs[0].dtype), rows.n);
  const auto loop = Vectorised<WeightRow<C>>();
  const auto flush = Vectorised<FlushRow<C>>();
  const int parts = PartsFor(spec, rows);
  return KernelOf([=](const KernelArgs& args) {
    const T* x = In<T>(args, 0);
    const T* dy = In<T>(args, 1);
    const C* mean = kCentered ? In<C>(args, 2) : nullptr;
    const C* rstd = In<C>(args, kCentered ? 3 : 2);
    const int64_t n = rows.n;
    char* const base = static_cast<char*>(args.workspace);
    const auto totals = [&](int part) {
      return reinterpret_cast<double*>(base + part * space.per_part);
    };
    ForEachPart(parts, rows.rows, [&](int part, int64_t begin, int64_t end) {
      char* const mine = base + part * space.per_part;
      double* total = totals(part);
      C* block = reinterpret_cast<C*>(mine + space.blocks);
      C* copies = reinterpret_cast<C*>(mine + space.rows);
      std::fill_n(total, 2 * n, 0.0);
      std::fill_n(block, 2 * n, C{0});
      for (int64_t row = begin; row < end; ++row) {
        loop(reader.Read(x + row * n, copies), reader.Read(dy + row * n, copies + n),
             kCentered ? mean[row] : C{0}, rstd[row], block, block + n, n);
        if ((row - begin) % kBlock == kBlock - 1) flush(block, total, 2 * n);
      }
      flush(block, total, 2 * n);
    });
    for (int part = 1; part < parts; ++part) {
      for (int64_t i = 0; i < 2 * n; ++i) totals(0)[i] += totals(part)[i];
    }
    for (int64_t i = 0; i < n; ++i) {
      Out<T>(args, 0)[i] = Convert<T>(totals(0)[i]);
      if (kCentered) Out<T>(args, 1)[i] = Convert<T>(totals(0)[n + i]);
    }
  });
}

// ---- layer_norm_grads: the two kernels, one behind the other ----

absl::Status CheckGrads(const KernelSpec& spec) {
  SpecCheck check = CheckSaved<true>(spec, 1, 3);
  if (spec.inputs.size() > 4) CheckTail(&check, check.in(4));
  check.Same(check.out(0), check.in(0));
  for (size_t i = 1; i < 3; ++i) CheckTail(&check, check.out(i));
  return check.status();
}

KernelSpec InputGradOf(KernelSpec spec) {
  spec.outputs.resize(1);
  return spec;
}
KernelSpec WeightGradOf(KernelSpec spec) {
  spec.inputs.resize(4);
  spec.outputs.erase(spec.outputs.begin());
  return spec;
}

absl::StatusOr<Needs> DescribeGrads(const KernelSpec& spec) {
  OF_ASSIGN_OR_RETURN(const Needs input, (DescribeRows<3, 1>(InputGradOf(spec))));
  OF_ASSIGN_OR_RETURN(const Needs weight, DescribeWeight(WeightGradOf(spec)));
  return Needs{std::max(input.workspace_bytes, weight.workspace_bytes), {}};
}

template <typename T>
std::unique_ptr<Kernel> MakeGrads(const KernelSpec& spec) {
  const std::shared_ptr<Kernel> input = MakeBackward<T, true>(InputGradOf(spec));
  const std::shared_ptr<Kernel> weight = MakeWeight<T, true>(WeightGradOf(spec));
  return KernelOf([=](const KernelArgs& args) -> absl::Status {
    OF_RETURN_IF_ERROR(input->Run(args, nullptr));
    KernelArgs weights = args;
    ++weights.outputs;
    return weight->Run(weights, nullptr);
  });
}

template <bool kCentered>
void AddRows(const std::string& name, std::vector<KernelDef>* rows) {
  rows->push_back({name, CheckForward<kCentered>, DescribeRows<2, 2>, [](const KernelSpec& spec) {
                     return DispatchFloats(spec, [&]<typename T>() -> KernelOr {
                       return MakeForward<T, kCentered>(spec);
                     });
                   }});
  rows->push_back(
      {name + "_grad", CheckBackward<kCentered>, DescribeRows<3, 1>, [](const KernelSpec& spec) {
         return DispatchFloats(
             spec, [&]<typename T>() -> KernelOr { return MakeBackward<T, kCentered>(spec); });
       }});
  rows->push_back(
      {name + "_weight_grad", CheckWeight<kCentered>, DescribeWeight, [](const KernelSpec& spec) {
         return DispatchFloats(
             spec, [&]<typename T>() -> KernelOr { return MakeWeight<T, kCentered>(spec); });
       }});
}

}  // namespace

std::vector<KernelDef> LayerNormKernels() {
  std::vector<KernelDef> rows;
  AddRows<true>("layer_norm", &rows);
  AddRows<false>("rms_norm", &rows);
  rows.push_back({"layer_norm_grads", CheckGrads, DescribeGrads, [](const KernelSpec& spec) {
                    return DispatchFloats(
                        spec, [&]<typename T>() -> KernelOr { return MakeGrads<T>(spec); });
                  }});
  return rows;
}

}  // namespace oneflow::kernels
