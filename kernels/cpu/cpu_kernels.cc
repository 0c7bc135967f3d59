#include "kernels/cpu/cpu_kernels.h"

#include <iterator>
#include <utility>
#include <vector>

#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

std::vector<KernelDef> AllKernels() {
  std::vector<KernelDef> all;
  for (std::vector<KernelDef> family :
       {UnaryKernels(),    BinaryKernels(),    GradientKernels(),  ComparisonKernels(),
        CastKernels(),     ReductionKernels(), ShapeKernels(),     MatmulKernels(),
        MovementKernels(), Conv2dKernels(),    PoolKernels(),      BatchNormKernels(),
        SoftmaxKernels(),  CtcKernels(),       AttentionKernels(), LayerNormKernels(),
        IndexingKernels(), SortKernels(),      RandomKernels(),    OptimizerKernels(),
        FusedKernels()}) {
    std::move(family.begin(), family.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace

std::string_view HostIsaName() {
  switch (HostIsa()) {
    case Isa::kAvx512:  // with another workspace where products in bf16 are more than that
      return HostBf16Tiles() != nullptr ? HostBf16Tiles()->name : "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kPortable:
      break;
  }
  return "portable";
}

const KernelTable& CpuKernels() {
  static const KernelTable table(AllKernels());
  return table;
}

}  // namespace oneflow::kernels
