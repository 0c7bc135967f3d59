// Plans of attention: the own kernel, or, where it was chosen by measurement, an engine of cuDNN that does so many samples
// at a time (kernels/cuda/attention_space.h). Software CUDA has no engines: there the own kernel does as many at a time,
// so that who chooses what, and what a slice is of, can be tested.
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/attention_problem.h"
#include "kernels/cuda/attention_space.h"
#include "kernels/cuda/attention_tensor.h"
#include "kernels/cuda/families.h"
#include "kernels/cuda/offered_algorithms.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>

#include "kernels/cuda/cudnn_attention.h"
#include "kernels/cuda/cudnn_convolution.h"
#include "kernels/cuda/gpu_place.h"
#endif

namespace oneflow::kernels {
namespace {

constexpr char kOwnKernel[] = "own kernel";
constexpr CudaError kInvalid = 1;  // cudaErrorInvalidValue

struct AttentionPlan {
  CudaAttention slice = {};  // the problem, of the samples that are done at a time
  int64_t batch = 0;         // of all
  AttentionBytes sample;     // of one
  CudaRun<CudaAttention> own = nullptr;
  bool in_slices = false;  // else the own kernel, of all
  CudaAlgorithms offered = {};
#ifdef __CUDACC__
  int device = 0;
  std::shared_ptr<CudnnAttention> engine;
#endif
};

CudaError MakePlan(const CudaAttention* a, void** out) {
  *out = nullptr;
  const CudaRun<CudaAttention> own = FindAttention(a->backward, a->dtype);
  if (own == nullptr) return 0;
  auto plan = std::make_unique<AttentionPlan>();
  plan->slice = *a;
  plan->slice.batch = SliceBatch(*a);
  plan->batch = a->batch;
  plan->sample = BytesOfSample(*a);
  plan->own = own;
#ifdef __CUDACC__
  if (const cudaError_t error = cudaGetDevice(&plan->device); error != cudaSuccess) return error;
#else
  // Fewer samples may be shared out among more blocks.
  const CudaAttention& part = plan->slice;
  if (a->backward &&
      a->workspace_bytes < AttentionGradBytes(part.batch, a->heads, a->queries, a->key_heads,
                                              a->keys, a->width, a->value_width, true)) {
    plan->slice.batch = 0;
  }
#endif
  *out = plan.release();
  return 0;
}

// An engine was told that operands begin on 16 bytes.
bool AreAligned(const AttentionBytes& sample, const CudaOperands& o) {
  uintptr_t bits = 0;
  for (size_t i = 0; i < sample.in.size(); ++i) bits |= reinterpret_cast<uintptr_t>(o.in[i]);
  for (size_t i = 0; i < sample.out.size(); ++i) bits |= reinterpret_cast<uintptr_t>(o.out[i]);
  for (const int64_t bytes : sample.in) bits |= static_cast<uintptr_t>(bytes);
  return bits % 16 == 0;
}

CudaError RunSlice(const AttentionPlan& plan, const CudaOperands& o, CudaStreamHandle stream) {
#ifdef __CUDACC__
  return plan.engine->Run(o, stream);
#else
  return plan.own(&plan.slice, &o, stream);
#endif
}

CudaError RunInSlices(const AttentionPlan& plan, const CudaOperands& o, CudaStreamHandle stream) {
  const AttentionBytes& sample = plan.sample;
  for (int64_t begin = 0; begin < plan.batch; begin += plan.slice.batch) {
    std::vector<const void*> in;
    std::vector<void*> out;
    for (size_t i = 0; i < sample.in.size(); ++i) {
      in.push_back(static_cast<const char*>(o.in[i]) + begin * sample.in[i]);
    }
    for (size_t i = 0; i < sample.out.size(); ++i) {
      out.push_back(static_cast<char*>(o.out[i]) + begin * sample.out[i]);
    }
    const CudaOperands part = {in.data(), out.data(), o.workspace, o.block, o.task};
    if (const CudaError error = RunSlice(plan, part, stream); error != 0) return error;
  }
  return 0;
}

CudaError RunPlan(const void* made, const CudaAttention* now, const CudaOperands* operands,
                  CudaStreamHandle stream) {
  const AttentionPlan& plan = *static_cast<const AttentionPlan*>(made);
  // A micro-batch of later queries has another diagonal than the first, which the plan was made of.
  if (plan.in_slices && (!now->causal || now->first_query == 0) &&
      AreAligned(plan.sample, *operands)) {
    return RunInSlices(plan, *operands, stream);
  }
  return plan.own(now, operands, stream);
}

CudaError AttentionAlgorithms(void* made, CudaAlgorithms* offered) {
  AttentionPlan* plan = static_cast<AttentionPlan*>(made);
  *offered = {};
  Offer(kOwnKernel, offered);
#ifdef __CUDACC__
  constexpr size_t kMostEngines = 2;  // each is compiled
  bool found = false;
  const char* const library = CudnnLibrary("", &found);
  if (!TellPlace(library, offered)) return kInvalid;
  if (found && plan->slice.batch > 0) {
    for (const std::string& name : CudnnAttention::Offered(plan->slice, kMostEngines)) {
      Offer(name.c_str(), offered);
    }
  }
#else
  std::snprintf(offered->place, sizeof(offered->place), "software CUDA");
  if (plan->slice.batch > 0) Offer("own kernel in slices", offered);
#endif
  plan->offered = *offered;
  return 0;
}

CudaError AttentionUse(void* made, const char* name) {
  AttentionPlan* plan = static_cast<AttentionPlan*>(made);
  const int place = PlaceOf(name, plan->offered);
  if (place < 0) return kInvalid;
#ifdef __CUDACC__
  if (place > 0) {
    // On the GPU that the plan was made for, whichever the calling thread is with.
    const OnGpu there(plan->device);
    std::shared_ptr<CudnnAttention> engine;
    if (there.ok()) engine = CudnnAttention::Shared(plan->slice, name);
    if (engine == nullptr) return kInvalid;
    plan->engine = std::move(engine);
  }
#endif
  plan->in_slices = place > 0;
  return 0;
}

void ReleasePlan(void* made) { delete static_cast<AttentionPlan*>(made); }

}  // namespace

void AddAttention(CudaApi* api) {
  api->attention_plan = &MakePlan;
  api->attention = &RunPlan;
  api->attention_algorithms = &AttentionAlgorithms;
  api->attention_use = &AttentionUse;
  api->attention_release = &ReleasePlan;
}

}  // namespace oneflow::kernels
