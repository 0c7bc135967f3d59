// embedding and its gradient, gather, scatter_add, cumsum. What an index may not name is reported,
// reads nothing and writes nothing (a zero where a result is due).
//
// embedding moves each row once (2 * row bytes per index). Its gradient is dealt out by rows of the
// table: each thread goes over all indices and adds those that name a row of its own, so the order
// of additions is that of the indices, whatever the team.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/index_operands.h"
#include "kernels/cpu/lines.h"
#include "kernels/cpu/loop_nest.h"
#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

int64_t IntOr(const Attrs& attrs, const std::string& name, int64_t otherwise) {
  return attrs.Has(name) ? attrs.Int(name) : otherwise;
}

// ---- embedding ----

// A table [rows, features], and rows of it [index.., features].
void CheckTable(SpecCheck* check, const Operand& table, const Operand& index, const Operand& rows) {
  check->Rank(table, 2, 2).Placed(table).Takes(index, {DType::kI64, DType::kI32});
  if (!check->ok()) return;
  Shape shape = index.shape;
  shape.push_back(table.shape[1]);
  check->HasShape(rows, shape).Takes(rows, {table.dtype});
}

absl::Status CheckEmbedding(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1);
  CheckTable(&check, check.in(0), check.in(1), check.out(0));
  return check.status();
}

KernelOr MakeEmbedding(const KernelSpec& spec) {
  const TableRows table = TableRowsOf(spec.inputs[0]);
  const int64_t n = NumElements(spec.inputs[1].shape);
  const int64_t bytes = table.features * SizeOf(spec.inputs[0].dtype);
  const bool wide = IsWide(spec.inputs[1]);
  const int64_t grain = kGrain / std::max<int64_t>(1, table.features) + 1;
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const char* weight = In<char>(args, 0);
    const IndexReader index(args.inputs[1], wide);
    char* y = Out<char>(args, 0);
    ParallelFor(threads, n, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = index[i];
        if (row < 0 || row >= table.all) {
          ReportDataError(args, DataErrorCode::kIndexOutOfRange, row, table.all);
        }
        const bool here = row >= table.begin && row < table.begin + table.count;
        if (bytes == 0) continue;
        if (here) {
          std::memcpy(y + i * bytes, weight + (row - table.begin) * bytes, bytes);
        } else {
          std::memset(y + i * bytes, 0, bytes);
        }
      }
    });
  });
}

absl::Status CheckEmbeddingGrad(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1);
  check.Takes(check.out(0), {DType::kF32, DType::kF64, DType::kBF16, DType::kF16});
  CheckTable(&check, check.out(0), check.in(1), check.in(0));
  if (check.ok()) check.Int("rows", check.out(0).shape[0], check.out(0).shape[0]);
  check.IntOr("padding_idx", -1, -1, kMaxOperandBytes);
  return check.status();
}

template <typename T>
struct AddRow {
  OF_LOOP static void Run(const T* from, Compute<T>* to, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] += from[i];
  }
};

// Narrow types are added in f32: the table, widened.
absl::StatusOr<Needs> DescribeEmbeddingGrad(const KernelSpec& spec) {
  const Operand& table = spec.outputs.at(0);
  const int64_t elements = NumElements(table.shape);
  return Needs{SizeOf(table.dtype) == 2 ? elements * static_cast<int64_t>(sizeof(float)) : 0, {}};
}

template <typename T>
std::unique_ptr<Kernel> MakeEmbeddingGradOf(const KernelSpec& spec) {
  using C = Compute<T>;
  const TableRows table = TableRowsOf(spec.outputs[0]);
  const int64_t n = NumElements(spec.inputs[1].shape);
  const bool wide = IsWide(spec.inputs[1]);
  const int64_t padding = IntOr(spec.attrs, "padding_idx", -1);
  const auto add = Vectorised<AddRow<T>>();
  const int64_t grain = kGrain / std::max<int64_t>(1, table.features) + 1;
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const T* dy = In<T>(args, 0);
    const IndexReader index(args.inputs[1], wide);
    T* out = Out<T>(args, 0);
    C* sums = nullptr;
    if constexpr (std::is_same_v<T, C>) {
      sums = out;
    } else {
      sums = static_cast<C*>(args.workspace);
    }
    const int64_t c = table.features;
    ParallelFor(threads, table.count, grain, [&](int64_t begin, int64_t end) {
      std::fill(sums + begin * c, sums + end * c, C{0});
      for (int64_t i = 0; i < n; ++i) {
        const int64_t row = index[i] - table.begin;
        if (row < begin || row >= end || index[i] == padding) continue;
        add(dy + i * c, sums + row * c, c);
      }
      if constexpr (!std::is_same_v<T, C>) {
        for (int64_t i = begin * c; i < end * c; ++i) out[i] = T(sums[i]);
      }
    });
  });
}

KernelOr MakeEmbeddingGrad(const KernelSpec& spec) {
  return DispatchFloats(spec,
                        [&]<typename T>() -> KernelOr { return MakeEmbeddingGradOf<T>(spec); });
}

// ---- gather and scatter_add ----

// x and index have one rank; index is nowhere longer but along dim.
void CheckGathered(SpecCheck* check, const Operand& x, const Operand& index) {
  check->Takes(index, {DType::kI64, DType::kI32}).Rank(x, 1, kMaxRank);
  if (!check->ok()) return;
  check->Rank(index, x.shape.size(), x.shape.size());
  const size_t dim = check->Dim("dim", x);
  if (!check->ok()) return;
  for (size_t d = 0; d < x.shape.size(); ++d) {
    check->Require(d == dim || index.shape[d] <= x.shape[d], "index is nowhere longer than x");
  }
}

absl::Status CheckGather(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1);
  CheckGathered(&check, check.in(0), check.in(1));
  check.HasShape(check.out(0), check.in(1).shape).Takes(check.out(0), {check.in(0).dtype});
  return check.status();
}

absl::Status CheckScatterAdd(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(3).Outputs(1).Same(check.out(0), check.in(0));
  CheckGathered(&check, check.in(0), check.in(1));
  check.HasShape(check.in(2), check.in(1).shape).Takes(check.in(2), {check.in(0).dtype});
  return check.Require(check.in(0).dtype != DType::kBool, "bools cannot be added").status();
}

// body(at_index, at_x, row): the element `row` along dim that index names, where it is legal; else
// row is -1 and the error is reported.
template <typename Body>
void ForEachIndex(const GatherLines& lines, const IndexReader& index, const KernelArgs& args,
                  int threads, const Body& body) {
  const int64_t count = lines.nest.elements();
  const int64_t grain = kGrain / 8 / std::max<int64_t>(1, lines.length) + 1;
  ParallelFor(threads, count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t first = lines.nest.OffsetOf(line, 0);
      const int64_t base = lines.nest.OffsetOf(line, 1);
      for (int64_t i = 0; i < lines.length; ++i) {
        const int64_t at = first + i * lines.index_stride;
        const int64_t row = index[at];
        const bool legal = row >= 0 && row < lines.bound;
        if (!legal) ReportDataError(args, DataErrorCode::kIndexOutOfRange, row, lines.bound);
        body(at, legal ? base + row * lines.x_stride : -1);
      }
    }
  });
}

KernelOr MakeGather(const KernelSpec& spec) {
  const GatherLines lines = GatherLinesOf(spec);
  const bool wide = IsWide(spec.inputs[1]);
  return DispatchSize(spec.inputs[0].dtype, [&]<typename T>() -> std::unique_ptr<Kernel> {
    return KernelOf([lines, wide, threads = spec.threads](const KernelArgs& args) {
      const T* x = In<T>(args, 0);
      T* y = Out<T>(args, 0);
      ForEachIndex(lines, IndexReader(args.inputs[1], wide), args, threads,
                   [&](int64_t at, int64_t from) { y[at] = from < 0 ? T{0} : x[from]; });
    });
  });
}

// Over x in place.
absl::StatusOr<Needs> DescribeScatterAdd(const KernelSpec&) { return Needs{0, {{0, 0}}}; }

KernelOr MakeScatterAdd(const KernelSpec& spec) {
  const GatherLines lines = GatherLinesOf(spec);
  const bool wide = IsWide(spec.inputs[1]);
  const int64_t n = NumElements(spec.outputs[0].shape);
  return DispatchDType(spec.inputs[0].dtype, [&]<typename T>() -> KernelOr {
    return KernelOf([lines, wide, n, threads = spec.threads](const KernelArgs& args) {
      const T* src = In<T>(args, 2);
      T* y = Out<T>(args, 0);
      if (In<T>(args, 0) != y) std::copy_n(In<T>(args, 0), n, y);
      ForEachIndex(lines, IndexReader(args.inputs[1], wide), args, threads,
                   [&](int64_t at, int64_t to) {
                     if (to >= 0) y[to] = CombineWith<CombineMode::kSum>::Apply(y[to], src[at]);
                   });
    });
  });
}

// ---- cumsum ----

absl::Status CheckCumsum(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(1).Outputs(1).Same(check.out(0), check.in(0)).Rank(check.in(0), 1, kMaxRank);
  check.Dim("dim", check.in(0));
  check.BoolOr("reverse", false);
  return check.Require(check.in(0).dtype != DType::kBool, "bools cannot be added").status();
}

// Floats are added in f64.
KernelOr MakeCumsum(const KernelSpec& spec) {
  const Lines lines = Lines::Along(spec);
  const bool reverse = spec.attrs.Has("reverse") && spec.attrs.Bool("reverse");
  return DispatchDType(spec.inputs[0].dtype, [&]<typename T>() -> KernelOr {
    using Sum = std::conditional_t<std::is_floating_point_v<Compute<T>>, double, uint64_t>;
    return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
      const T* x = In<T>(args, 0);
      T* y = Out<T>(args, 0);
      ParallelFor(threads, lines.count(), kGrain / 4 / std::max<int64_t>(1, lines.extent) + 1,
                  [&](int64_t begin, int64_t end) {
                    for (int64_t line = begin; line < end; ++line) {
                      const int64_t base = lines.First(line);
                      Sum sum = 0;
                      for (int64_t i = 0; i < lines.extent; ++i) {
                        const int64_t at =
                            base + (reverse ? lines.extent - 1 - i : i) * lines.inner;
                        sum += static_cast<Sum>(static_cast<Compute<T>>(x[at]));
                        y[at] = Convert<T>(sum);
                      }
                    }
                  });
    });
  });
}

}  // namespace

std::vector<KernelDef> IndexingKernels() {
  return {
      {"embedding", CheckEmbedding, NeedsNothing, MakeEmbedding},
      {"embedding_grad", CheckEmbeddingGrad, DescribeEmbeddingGrad, MakeEmbeddingGrad},
      {"gather", CheckGather, NeedsNothing, MakeGather},
      {"scatter_add", CheckScatterAdd, DescribeScatterAdd, MakeScatterAdd},
      {"cumsum", CheckCumsum, Elementwise, MakeCumsum},
  };
}

}  // namespace oneflow::kernels
