// SoftCudnn: a cuDNN for tests that computes what a graph says, in memory of the host, one operation after the other.
//
// It defines cudnn::OpenedLibrary for a program that does not have the real one's (kernels/cuda/cudnn_graph.cu). Of the
// backend interface it knows what our graphs of attention are made of, with the meaning that cuDNN documents: tensors by
// dims and strides, operands of pointwise operations broadcast where a dim is 1, heads of a product that divide the other
// side's shared by neighbours. Numbers are f64, rounded to the type of each tensor that is 16 bits wide. One engine, which
// a compiler makes. Threads: one. Read next: kernels/cuda/cudnn_attention_graph_test.cc.
#ifndef ONEFLOW_KERNELS_CUDA_SOFT_CUDNN_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_SOFT_CUDNN_FOR_TEST_H_

#include <cstdint>
#include <map>

#include "kernels/cuda/cudnn_backend.h"

namespace oneflow::kernels::cudnn {

// Runs a plan with its tensors at these places, by id. Throws std::runtime_error for a graph that says nothing.
void RunSoftly(Descriptor plan, const std::map<int64_t, void*>& places);
// Whether every sum of the plan asks for the same bits in every run.
bool SumsComeAgain(Descriptor plan);

}  // namespace oneflow::kernels::cudnn

#endif  // ONEFLOW_KERNELS_CUDA_SOFT_CUDNN_FOR_TEST_H_
