// Reductions: sum and amax over any set of dims, argmax over one.
//
// Reads every element once (sizeof(T) bytes per element); two shapes of loop, after dims are
// merged: the innermost dim is kept (columns are added row by row: a bias gradient) or reduced (a
// row gives a number). f32 sums are made of blocks of at most kBlock additions in f32 lanes whose
// results are added in f64, so the error does not grow with the length. A sum over nothing is 0, a
// maximum over nothing the least value.
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/lines.h"
#include "kernels/cpu/loop_nest.h"
#include "kernels/cpu/scalar_types.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kBlock = 128;  // rows, or elements of one lane, that are added in the narrow type
constexpr int64_t kTile = 256;   // columns at a time
constexpr int64_t kLanes = 32;
constexpr int64_t kNarrow = 64;  // columns below which several rows are added as one long row

// What is reduced: T elements, R result; Narrow inside a block, Wide across blocks.
template <typename Element>
struct SumFloat {
  using T = Element;
  using R = Element;
  using Narrow = Compute<Element>;
  using Wide = double;
  static constexpr Wide kIdentity = 0;
  template <typename A, typename B>
  OF_LOOP static A Join(A a, B b) {
    return a + static_cast<A>(b);
  }
};
template <typename Element, typename Result>
struct SumInt {
  using T = Element;
  using R = Result;
  using Narrow = uint64_t;  // wraps
  using Wide = uint64_t;
  static constexpr Wide kIdentity = 0;
  template <typename A, typename B>
  OF_LOOP static A Join(A a, B b) {
    return a + static_cast<A>(static_cast<int64_t>(b));
  }
};
template <typename Element>
struct Max {
  using T = Element;
  using R = Element;
  using Narrow = Compute<Element>;
  using Wide = Compute<Element>;
  static constexpr Wide kIdentity = std::numeric_limits<Wide>::has_infinity
                                        ? -std::numeric_limits<Wide>::infinity()
                                        : std::numeric_limits<Element>::lowest();
  template <typename A, typename B>
  OF_LOOP static A Join(A a, B b) {
    return b > a || b != b ? b : a;  // NaN wins, as in PyTorch
  }
};

// block[j] = join over `rows` rows of in[row * stride + j].
template <typename Op>
struct ColumnLoop {
  OF_LOOP static void Run(const typename Op::T* in, int64_t stride, int64_t rows, int64_t columns,
                          typename Op::Narrow* block) {
    for (int64_t row = 0; row < rows; ++row) {
      const typename Op::T* line = in + row * stride;
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) block[j] = Op::Join(block[j], line[j]);
    }
  }
};

// The join of n contiguous elements, n <= kBlock * kLanes.
template <typename Op>
struct RowLoop {
  OF_LOOP static typename Op::Wide Run(const typename Op::T* in, int64_t n) {
    using Narrow = typename Op::Narrow;
    Narrow lanes[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] = static_cast<Narrow>(Op::kIdentity);
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
      for (int64_t l = 0; l < kLanes; ++l) lanes[l] = Op::Join(lanes[l], in[i + l]);
    }
    for (int64_t l = 0; i + l < n; ++l) lanes[l] = Op::Join(lanes[l], in[i + l]);
    typename Op::Wide total = Op::kIdentity;
    for (int64_t l = 0; l < kLanes; ++l) total = Op::Join(total, lanes[l]);
    return total;
  }
};

// How the dims fall into kept and reduced ones.
struct Split {
  bool inner_kept = false;
  int64_t columns = 1;  // contiguous kept elements
  LoopNest<1> kept;     // the kept dims before the columns
  LoopNest<1> reduced;
};

Split SplitDims(const KernelSpec& spec) {
  const Shape& shape = spec.inputs.at(0).shape;
  std::vector<bool> is_reduced(shape.size(), false);
  for (int64_t dim : spec.attrs.Ints("dims")) {
    if (!shape.empty()) is_reduced[WrapDim(dim, shape.size())] = true;
  }
  const Shape strides = StridesOf(shape);
  Split split;
  size_t end = shape.size();
  while (end > 0 && (!is_reduced[end - 1] || shape[end - 1] == 1)) {
    split.columns *= shape[--end];
  }
  split.inner_kept = split.columns != 1;
  Shape kept, kept_strides, reduced, reduced_strides;
  for (size_t d = 0; d < end; ++d) {
    (is_reduced[d] ? reduced : kept).push_back(shape[d]);
    (is_reduced[d] ? reduced_strides : kept_strides).push_back(strides[d]);
  }
  split.kept = LoopNest<1>(kept, {kept_strides});
  split.reduced = LoopNest<1>(reduced, {reduced_strides});
  return split;
}

template <typename Op>
class Reduction {
 public:
  using T = typename Op::T;
  using Wide = typename Op::Wide;
  using Narrow = typename Op::Narrow;

  explicit Reduction(const KernelSpec& spec)
      : split_(SplitDims(spec)),
        column_loop_(Vectorised<ColumnLoop<Op>>()),
        row_loop_(Vectorised<RowLoop<Op>>()) {
    const int64_t elements = NumElements(spec.inputs[0].shape);
    const int parts = PartsOf(spec.threads, elements, kGrain);
    // Few results: the team shares each of them, and joins its shares in order of the threads.
    share_parts_ = parts > 1 && results() <= 2048 ? parts : 1;
    result_parts_ = share_parts_ > 1 ? 1 : parts;
    tile_ = split_.inner_kept ? std::min(kTile, (split_.columns + parts - 1) / parts) : 1;
    tiles_ = tile_ == 0 ? 0 : (split_.columns + tile_ - 1) / tile_;
  }

  int64_t results() const { return split_.kept.elements() * split_.columns; }
  int64_t workspace_bytes() const {
    return share_parts_ > 1 ? share_parts_ * results() * static_cast<int64_t>(sizeof(Wide)) : 0;
  }

  void operator()(const KernelArgs& args) const {
    const T* in = In<T>(args, 0);
    auto* out = Out<typename Op::R>(args, 0);
    const int64_t items = split_.kept.elements() * tiles_;
    if (share_parts_ == 1) {
      ForEachPart(result_parts_, items, [&](int, int64_t begin, int64_t end) {
        Wide totals[kTile];
        for (int64_t item = begin; item < end; ++item) {
          const int64_t at = ReduceItem(in, item, 0, 1, totals);
          const int64_t width = Width(item);
          for (int64_t j = 0; j < width; ++j) {
            out[at + j] = Convert<typename Op::R>(totals[j]);
          }
        }
      });
      return;
    }
    Wide* shares = static_cast<Wide*>(args.workspace);
    const int64_t count = results();
    ForEachPart(share_parts_, share_parts_, [&](int part, int64_t, int64_t) {
      Wide totals[kTile];
      for (int64_t item = 0; item < items; ++item) {
        const int64_t at = ReduceItem(in, item, part, share_parts_, totals);
        std::copy_n(totals, Width(item), shares + part * count + at);
      }
    });
    for (int64_t i = 0; i < count; ++i) {
      Wide total = shares[i];
      for (int part = 1; part < share_parts_; ++part) {
        total = Op::Join(total, shares[part * count + i]);
      }
      out[i] = Convert<typename Op::R>(total);
    }
  }

 private:
  int64_t Width(int64_t item) const {
    const int64_t first = item % tiles_ * tile_;
    return std::min(tile_, split_.columns - first);
  }

  // Reduces share `part` of the tile `item` into totals; returns the tile's first result.
  int64_t ReduceItem(const T* in, int64_t item, int part, int parts, Wide* totals) const {
    const int64_t kept = item / tiles_;
    const int64_t first = item % tiles_ * tile_;
    const int64_t width = Width(item);
    const T* base = in + split_.kept.OffsetOf(kept, 0) + first;
    std::fill_n(totals, width, Op::kIdentity);
    if (split_.inner_kept) {
      const int64_t stride = split_.reduced.inner_stride(0);
      // Narrow dense rows: lane j of a long row belongs to column j % width.
      const int64_t fold = stride == width && width <= kNarrow ? kTile / width : 1;
      Narrow block[kTile];
      int64_t filled = 0;
      std::fill_n(block, width * fold, static_cast<Narrow>(Op::kIdentity));
      split_.reduced.ForEachRowOfPart(part, parts, [&](const auto& at, int64_t n) {
        for (int64_t row = 0; row < n;) {
          const int64_t together = n - row >= fold ? fold : 1;
          const int64_t rows = std::min((n - row) / together, kBlock - filled);
          column_loop_(base + at[0] + row * stride, stride * together, rows, width * together,
                       block);
          row += rows * together;
          filled += rows;
          if (filled == kBlock) {
            Flush(block, width, fold, totals);
            filled = 0;
          }
        }
      });
      Flush(block, width, fold, totals);
    } else {
      split_.reduced.ForEachRowOfPart(part, parts, [&](const auto& at, int64_t n) {
        for (int64_t i = 0; i < n; i += kBlock * kLanes) {
          totals[0] =
              Op::Join(totals[0], row_loop_(base + at[0] + i, std::min(n - i, kBlock * kLanes)));
        }
      });
    }
    return kept * split_.columns + first;
  }

  static void Flush(Narrow* block, int64_t width, int64_t fold, Wide* totals) {
    for (int64_t row = 0; row < fold; ++row, block += width) {
      for (int64_t j = 0; j < width; ++j) {
        totals[j] = Op::Join(totals[j], block[j]);
        block[j] = static_cast<Narrow>(Op::kIdentity);
      }
    }
  }

  Split split_;
  decltype(&ColumnLoop<Op>::Run) column_loop_;
  decltype(&RowLoop<Op>::Run) row_loop_;
  int share_parts_ = 1;   // threads that share each result
  int result_parts_ = 1;  // threads among which results are dealt out
  int64_t tile_ = 1;
  int64_t tiles_ = 1;
};

// f(Op type) for the dtypes of the spec: a sum of floats, or of integers that are narrower than the
// result.
template <typename F>
auto DispatchSum(const KernelSpec& spec, const F& f)
    -> decltype(f.template operator()<SumFloat<float>>()) {
  using Result = decltype(f.template operator()<SumFloat<float>>());
  const DType in = spec.inputs.at(0).dtype;
  const DType out = spec.outputs.at(0).dtype;
  if (in != out && (out != DType::kI64 || IsFloating(in))) return UnsupportedDType(spec, in);
  return DispatchDType(in, [&]<typename T>() -> Result {
    if constexpr (std::is_floating_point_v<Compute<T>>) {
      return f.template operator()<SumFloat<T>>();
    } else {
      if (out == DType::kI64) return f.template operator()<SumInt<T, int64_t>>();
      if constexpr (std::is_integral_v<T>) return f.template operator()<SumInt<T, T>>();
      return UnsupportedDType(spec, in);
    }
  });
}
template <typename F>
auto DispatchMax(const KernelSpec& spec, const F& f)
    -> decltype(f.template operator()<Max<float>>()) {
  using Result = decltype(f.template operator()<Max<float>>());
  const DType dtype = spec.inputs.at(0).dtype;
  return DispatchDType(dtype, [&]<typename T>() -> Result {
    if constexpr (std::is_same_v<T, Bool>) {
      return UnsupportedDType(spec, dtype);
    } else {
      return f.template operator()<Max<T>>();
    }
  });
}

// The result is the input without the reduced dims, or with extent 1 in their place.
void CheckReduced(SpecCheck* check, const std::vector<int64_t>& dims) {
  Shape kept = check->in(0).shape;
  for (const int64_t dim : dims) {
    const size_t wrapped = check->WrappedDim(dim, check->in(0));
    if (wrapped < kept.size()) kept[wrapped] = -1;
  }
  Shape with_ones, without;
  for (const int64_t extent : kept) {
    with_ones.push_back(extent < 0 ? 1 : extent);
    if (extent >= 0) without.push_back(extent);
  }
  check->Require(check->out(0).shape == without || check->out(0).shape == with_ones,
                 "the result has the dims that are kept");
}

absl::Status CheckSum(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(1).Outputs(1);
  CheckReduced(&check, check.Ints("dims"));
  return check.status();
}

absl::Status CheckMax(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.SameDType();
  return check.ok() ? CheckSum(spec) : check.status();
}

absl::Status CheckArgmax(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(1).Outputs(1);
  CheckReduced(&check, {static_cast<int64_t>(check.Dim("dim", check.in(0)))});
  return check.Require(check.out(0).dtype == DType::kI64, "the result is i64").status();
}

struct DescribeOp {
  const KernelSpec& spec;
  template <typename Op>
  absl::StatusOr<Needs> operator()() const {
    return Needs{Reduction<Op>(spec).workspace_bytes(), {}};
  }
};
struct MakeOp {
  const KernelSpec& spec;
  template <typename Op>
  KernelOr operator()() const {
    return KernelOf(Reduction<Op>(spec));
  }
};

// The index of the first greatest element along `dim`; NaN counts as greatest. in [outer, extent,
// inner].
template <typename T>
std::unique_ptr<Kernel> MakeArgmaxOf(const KernelSpec& spec) {
  const Lines lines = Lines::Along(spec);
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const T* in = In<T>(args, 0);
    int64_t* out = Out<int64_t>(args, 0);
    ParallelFor(threads, lines.count(), kGrain / std::max<int64_t>(lines.extent, 1) + 1,
                [&](int64_t begin, int64_t end) {
                  for (int64_t i = begin; i < end; ++i) {
                    const T* line = in + lines.First(i);
                    int64_t best = 0;
                    for (int64_t k = 1; k < lines.extent; ++k) {
                      const Compute<T> a = line[best * lines.inner];
                      const Compute<T> b = line[k * lines.inner];
                      if (b > a || (b != b && a == a)) best = k;
                    }
                    out[i] = best;
                  }
                });
  });
}

}  // namespace

std::vector<KernelDef> ReductionKernels() {
  return {
      {"sum", CheckSum, [](const KernelSpec& spec) { return DispatchSum(spec, DescribeOp{spec}); },
       [](const KernelSpec& spec) { return DispatchSum(spec, MakeOp{spec}); }},
      {"amax", CheckMax, [](const KernelSpec& spec) { return DispatchMax(spec, DescribeOp{spec}); },
       [](const KernelSpec& spec) { return DispatchMax(spec, MakeOp{spec}); }},
      {"argmax", CheckArgmax, NeedsNothing,
       [](const KernelSpec& spec) -> KernelOr {
         return DispatchDType(spec.inputs.at(0).dtype,
                              [&]<typename T>() { return MakeArgmaxOf<T>(spec); });
       }},
  };
}

}  // namespace oneflow::kernels
