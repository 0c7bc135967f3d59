// sort along a dim: values and where they stood. Stable; nan counts as the greatest, as in PyTorch.
//
// A line's indices are merged bottom up between two rows of the workspace: n log n comparisons, nothing
// is allocated, the result depends on the elements alone.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/lines.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar_types.h"

namespace oneflow::kernels {
namespace {

int PartsFor(const KernelSpec& spec, const Lines& lines) {
  return PartsOf(spec.threads, lines.count(), kGrain / 16 / std::max<int64_t>(1, lines.extent) + 1);
}

absl::Status CheckSort(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(1).Outputs(2).Same(check.out(0), check.in(0)).Rank(check.in(0), 1, kMaxRank);
  check.Takes(check.out(1), {DType::kI64}).HasShape(check.out(1), check.in(0).shape);
  check.Dim("dim", check.in(0));
  check.BoolOr("descending", false);
  return check.status();
}

// Two rows of indices per thread.
absl::StatusOr<Needs> DescribeSort(const KernelSpec& spec) {
  const Lines lines = Lines::Along(spec);
  return Needs{2 * PartsFor(spec, lines) * lines.extent * static_cast<int64_t>(sizeof(int64_t)),
               {}};
}

template <typename C>
bool IsLess(C a, C b) {
  return a < b || (b != b && a == a);
}

// Sorts the n indices in `from`; the result is in the row that is returned. `before(i, j)`: element i
// stands before element j, and not only by its place.
template <typename Before>
int64_t* MergeSort(int64_t* from, int64_t* to, int64_t n, const Before& before) {
  for (int64_t width = 1; width < n; width *= 2) {
    for (int64_t begin = 0; begin < n; begin += 2 * width) {
      const int64_t middle = std::min(begin + width, n);
      const int64_t end = std::min(begin + 2 * width, n);
      int64_t left = begin;
      int64_t right = middle;
      for (int64_t out = begin; out < end; ++out) {
        const bool take_right = left == middle || (right < end && before(from[right], from[left]));
        to[out] = from[take_right ? right++ : left++];
      }
    }
    std::swap(from, to);
  }
  return from;
}

template <typename T>
std::unique_ptr<Kernel> MakeSortOf(const KernelSpec& spec) {
  const Lines lines = Lines::Along(spec);
  const bool descending = spec.attrs.Has("descending") && spec.attrs.Bool("descending");
  return KernelOf([lines, descending, parts = PartsFor(spec, lines)](const KernelArgs& args) {
    const T* x = In<T>(args, 0);
    T* values = Out<T>(args, 0);
    int64_t* indices = Out<int64_t>(args, 1);
    const int64_t n = lines.extent;
    ForEachPart(parts, lines.count(), [&](int part, int64_t begin, int64_t end) {
      int64_t* space = static_cast<int64_t*>(args.workspace) + 2 * part * n;
      for (int64_t line = begin; line < end; ++line) {
        const int64_t base = lines.First(line);
        const auto at = [&](int64_t i) -> Compute<T> { return x[base + i * lines.inner]; };
        for (int64_t i = 0; i < n; ++i) space[i] = i;
        const int64_t* sorted =
            descending ? MergeSort(space, space + n, n,
                                   [&](int64_t i, int64_t j) { return IsLess(at(j), at(i)); })
                       : MergeSort(space, space + n, n,
                                   [&](int64_t i, int64_t j) { return IsLess(at(i), at(j)); });
        for (int64_t i = 0; i < n; ++i) {
          values[base + i * lines.inner] = x[base + sorted[i] * lines.inner];
          indices[base + i * lines.inner] = sorted[i];
        }
      }
    });
  });
}

KernelOr MakeSort(const KernelSpec& spec) {
  return DispatchDType(spec.inputs.at(0).dtype,
                       [&]<typename T>() -> KernelOr { return MakeSortOf<T>(spec); });
}

}  // namespace

std::vector<KernelDef> SortKernels() { return {{"sort", CheckSort, DescribeSort, MakeSort}}; }

}  // namespace oneflow::kernels
