// SliceBatch, EngineRoom: which calls of attention cuDNN's engines can do as our own kernels do, and how the
// workspace that a plan gives is shared out where one does. AttentionBytes: what its operands take.
//
// A plan gives what the own kernels need, decided without a GPU and without the library (attention_kernels.cc), and a
// forward pass the few bytes that every engine asks for. A gradient with the same bits in every run keeps the gradients of
// all scores, in 16 bits: more than the own kernel's sums, so an engine gets as many samples at a time as fit into
// these, and a call is up to kMostSlices of them. Functions of the host. Threads: any. Read next:
// kernels/cuda/attention_plan.cu, kernels/cuda/cudnn_attention_graph.h.
#ifndef ONEFLOW_KERNELS_CUDA_ATTENTION_SPACE_H_
#define ONEFLOW_KERNELS_CUDA_ATTENTION_SPACE_H_

#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/library_space.h"

namespace oneflow::kernels {

// Of each input and output, in their order.
struct AttentionBytes {
  std::vector<int64_t> in, out;
};
// Of a sample, of types of 16 bits. `a`: its gradient has no dlse.
inline AttentionBytes BytesOfSample(const CudaAttention& a) {
  const int64_t q = a.queries * a.q_pitch * 2, k = a.keys * a.k_pitch * 2;
  const int64_t v = a.keys * a.v_pitch * 2, made = a.queries * a.heads * a.value_width * 2;
  const int64_t lse = a.heads * a.queries * 4;
  if (a.backward) return {{q, k, v, made, lse, made}, {q, k, v}};
  return {{q, k, v}, {made, lse}};
}

inline constexpr int64_t kMostSlices = 16;
inline constexpr int64_t kSmallEngineBytes = 1024;  // beside gradients of scores; asked: 0 to 256

// The op as our kernels do it: no dropout, whose mask here depends on a weight's place in the logical tensor; no
// mask, under which a query may see nothing; no gradient of lse. From 64 queries on: for fewer an engine may share
// a query's keys out. Shapes come from a plan, which may say anything.
inline bool IsForEngine(const CudaAttention& a) {
  const DType dtype = static_cast<DType>(a.dtype);
  const auto within = [](int64_t extent, int64_t least, int64_t most) {
    return extent >= least && extent <= most;
  };
  return (dtype == DType::kBF16 || dtype == DType::kF16) && !a.drops && a.mask_input < 0 &&
         a.dlse_input < 0 && (!a.causal || a.first_query == 0) && within(a.batch, 1, 1 << 20) &&
         within(a.heads, 1, 1 << 12) && within(a.key_heads, 1, a.heads) &&
         a.heads % a.key_heads == 0 && within(a.queries, 64, 1 << 20) &&
         within(a.keys, 1, 1 << 20) && a.width == a.value_width && within(a.width, 8, 256) &&
         a.width % 8 == 0 && a.q_pitch % 8 == 0 && a.k_pitch % 8 == 0 && a.v_pitch % 8 == 0;
}

// Beside what the own kernel needs.
inline int64_t EngineExtraBytes(const CudaAttention& a) {
  return !a.backward && IsForEngine(a) ? kLibraryAlignment + kSmallEngineBytes : 0;
}
// Of a sample's rows: sums of out times dout.
inline int64_t SampleRowBytes(const CudaAttention& a) { return a.heads * a.queries * 4; }
// What an engine keeps of a sample: gradients of scores in whole tiles of 64, and gradients of keys and values for each
// head of q where several share one.
inline int64_t SampleEngineBytes(const CudaAttention& a) {
  const auto whole = [](int64_t extent) { return (extent + 63) / 64 * 64; };
  const int64_t scores = a.heads * whole(a.queries) * whole(a.keys) * 2;
  const int64_t shared = a.heads == a.key_heads ? 0 : 2 * a.heads * a.keys * a.width * 2;
  return scores + shared;
}
// Samples that an engine does at a time, a divisor of all; 0: none does the call.
inline int64_t SliceBatch(const CudaAttention& a) {
  if (!IsForEngine(a)) return 0;
  const int64_t room = a.workspace_bytes - kLibraryAlignment - kSmallEngineBytes;
  if (room < 0) return 0;
  if (!a.backward) return a.batch;
  const int64_t sample = SampleEngineBytes(a) + AlignedBytes(SampleRowBytes(a));
  for (int64_t slices = 1; slices <= kMostSlices && slices <= a.batch; ++slices) {
    if (a.batch % slices == 0 && a.batch / slices <= room / sample) return a.batch / slices;
  }
  return 0;
}
// What is the engine's of the workspace; the rows lie before it.
inline int64_t EngineRoom(const CudaAttention& slice) {
  const int64_t rows = slice.backward ? AlignedBytes(slice.batch * SampleRowBytes(slice)) : 0;
  return slice.workspace_bytes - kLibraryAlignment - rows;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_ATTENTION_SPACE_H_
