// Families: the rows of the CPU table, one function per file of kernels/cpu.
//
// Threads: any. Read next: kernels/cpu/cpu_kernels.cc.
#ifndef ONEFLOW_KERNELS_CPU_FAMILIES_H_
#define ONEFLOW_KERNELS_CPU_FAMILIES_H_

#include <vector>

#include "kernels/kernel.h"

namespace oneflow::kernels {

std::vector<KernelDef> UnaryKernels();
std::vector<KernelDef> BinaryKernels();
std::vector<KernelDef> GradientKernels();
std::vector<KernelDef> ComparisonKernels();
std::vector<KernelDef> CastKernels();
std::vector<KernelDef> ReductionKernels();
std::vector<KernelDef> ShapeKernels();
std::vector<KernelDef> MatmulKernels();
std::vector<KernelDef> MovementKernels();
std::vector<KernelDef> Conv2dKernels();
std::vector<KernelDef> PoolKernels();
std::vector<KernelDef> BatchNormKernels();
std::vector<KernelDef> SoftmaxKernels();
std::vector<KernelDef> CtcKernels();
std::vector<KernelDef> AttentionKernels();
std::vector<KernelDef> LayerNormKernels();
std::vector<KernelDef> IndexingKernels();
std::vector<KernelDef> SortKernels();
std::vector<KernelDef> RandomKernels();
std::vector<KernelDef> OptimizerKernels();
std::vector<KernelDef> FusedKernels();

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_FAMILIES_H_
