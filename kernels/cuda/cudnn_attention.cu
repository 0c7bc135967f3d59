#include <cuda_runtime.h>

#include <array>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "kernels/cuda/attention_space.h"
#include "kernels/cuda/cudnn_attention.h"
#include "kernels/cuda/cudnn_attention_graph.h"

namespace oneflow::kernels {
namespace {

// What a graph is made from; not the numbers that a call gives.
using Key = std::array<int64_t, 14>;
Key KeyOf(int device, const CudaAttention& a) {
  return {device,  a.dtype,   a.backward, a.causal,  a.batch,   a.queries,   a.keys,
          a.heads, a.q_pitch, a.width,    a.k_pitch, a.v_pitch, a.key_heads, EngineRoom(a)};
}

}  // namespace

std::shared_ptr<CudnnAttention> CudnnAttention::Shared(const CudaAttention& a,
                                                       const std::string& name) {
  struct Known {
    std::weak_ptr<CudnnAttention> plan;
    bool refused = false;
  };
  static std::mutex mutex;
  static auto* plans = new std::map<std::pair<std::pair<Key, double>, std::string>, Known>;
  int device = 0;
  CudnnHandle* const handle = CudnnHandle::OfDevice();
  if (handle == nullptr || cudaGetDevice(&device) != cudaSuccess) return nullptr;
  std::lock_guard<std::mutex> lock(mutex);
  Known& known = (*plans)[{{KeyOf(device, a), a.scale}, name}];
  std::shared_ptr<CudnnAttention> made = known.plan.lock();
  if (made != nullptr || known.refused) return made;
  std::optional<cudnn::EnginePlan> plan;
  {
    std::lock_guard<std::mutex> calls(handle->mutex);
    plan = cudnn::PlanAttention(a, {handle->handle, nullptr}, EngineRoom(a), name);
  }
  known.refused = !plan.has_value();
  if (known.refused) return nullptr;
  made = std::shared_ptr<CudnnAttention>(new CudnnAttention(a));
  made->handle_ = handle;
  made->plan_ = plan->plan.Release();
  made->config_ = plan->config.Release();
  known.plan = made;
  return made;
}

std::vector<std::string> CudnnAttention::Offered(const CudaAttention& a, size_t most) {
  CudnnHandle* const handle = CudnnHandle::OfDevice();
  if (handle == nullptr) return {};
  std::lock_guard<std::mutex> lock(handle->mutex);
  return cudnn::OfferedForAttention(a, {handle->handle, nullptr}, EngineRoom(a), most);
}

CudnnAttention::~CudnnAttention() {
  cudnn::OpenedLibrary().descriptor_destroy(plan_);
  cudnn::OpenedLibrary().descriptor_destroy(config_);
}

CudaError CudnnAttention::Run(const CudaOperands& o, CudaStreamHandle stream) const {
  const float scale = static_cast<float>(a_.scale), one = 1, masked = cudnn::kMaskedScore;
  char* const space = AlignedSpace(o.workspace);
  std::vector<int64_t> ids = {cudnn::kQueries, cudnn::kKeys, cudnn::kValues, cudnn::kScale};
  std::vector<const void*> places = {o.in[0], o.in[1], o.in[2], &scale};
  const auto add = [&](int64_t id, const void* place) {
    ids.push_back(id);
    places.push_back(place);
  };
  if (a_.causal) add(cudnn::kMasked, &masked);
  if (!a_.backward) {
    add(cudnn::kOut, o.out[0]);
    add(cudnn::kLse, o.out[1]);
    return handle_->Run(plan_, ids.data(), places.data(), static_cast<int64_t>(ids.size()), space,
                        stream);
  }
  add(cudnn::kOut, o.in[3]);
  add(cudnn::kLse, o.in[4]);
  add(cudnn::kDout, o.in[5]);
  add(cudnn::kDq, o.out[0]);
  add(cudnn::kDk, o.out[1]);
  add(cudnn::kDv, o.out[2]);
  add(cudnn::kOne, &one);
  add(cudnn::kRows, space);
  return handle_->Run(plan_, ids.data(), places.data(), static_cast<int64_t>(ids.size()),
                      space + AlignedBytes(a_.batch * SampleRowBytes(a_)), stream);
}

}  // namespace oneflow::kernels
