#include "kernels/cpu/cpu_kernels.h"

#include <iterator>
#include <utility>
#include <vector>

#include "kernels/cpu/families.h"

namespace oneflow::kernels {
namespace {

std::vector<KernelDef> AllKernels() {
  std::vector<KernelDef> all;
  for (std::vector<KernelDef> family :
       {UnaryKernels(), BinaryKernels(), ComparisonKernels(), CastKernels(), ReductionKernels(),
        ShapeKernels(), MatmulKernels(), MovementKernels(), Conv2dKernels(), PoolKernels(),
        BatchNormKernels(), SoftmaxKernels(), RandomKernels(), OptimizerKernels()}) {
    std::move(family.begin(), family.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace

const KernelTable& CpuKernels() {
  static const KernelTable table(AllKernels());
  return table;
}

}  // namespace oneflow::kernels
