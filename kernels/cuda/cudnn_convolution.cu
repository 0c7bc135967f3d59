#include <cuda_runtime.h>

#include <array>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/cuda/cudnn_convolution.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/cudnn_handle.h"

namespace oneflow::kernels {
std::unique_ptr<CudnnConvolution> CudnnConvolution::Make(const CudaConvolution& p,
                                                         int64_t workspace_bytes,
                                                         const std::string& name) {
  CudnnHandle* device = CudnnHandle::OfDevice();
  if (device == nullptr) return nullptr;
  std::lock_guard<std::mutex> lock(device->mutex);
  std::optional<cudnn::EnginePlan> plan =
      cudnn::PlanConvolution(p, {device->handle, nullptr}, workspace_bytes, name);
  if (!plan.has_value()) return nullptr;
  std::unique_ptr<CudnnConvolution> made(new CudnnConvolution);
  made->handle_ = device;
  made->plan_ = plan->plan.Release();
  made->config_ = plan->config.Release();
  made->engine_ = plan->engine;
  made->name_ = std::move(plan->name);
  made->workspace_bytes_ = plan->workspace_bytes;
  return made;
}

std::shared_ptr<CudnnConvolution> CudnnConvolution::Shared(const CudaConvolution& p,
                                                           int64_t workspace_bytes,
                                                           const std::string& name) {
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return nullptr;
  using Key = std::array<int64_t, 20>;
  const Key key = {device,        static_cast<int64_t>(p.pass),
                   p.dtype,       workspace_bytes,
                   p.parts,       p.n,
                   p.h,           p.w,
                   p.c,           p.k,
                   p.p,           p.q,
                   p.r,           p.s,
                   p.groups,      p.stride[0] * (int64_t{1} << 32) + p.stride[1],
                   p.padding[0],  p.padding[1],
                   p.dilation[0], p.dilation[1]};
  static std::mutex mutex;
  struct Known {
    std::weak_ptr<CudnnConvolution> plan;
    bool refused = false;
  };
  static auto* plans = new std::map<std::pair<Key, std::string>, Known>;
  std::lock_guard<std::mutex> lock(mutex);
  Known& known = (*plans)[{key, name}];
  std::shared_ptr<CudnnConvolution> plan = known.plan.lock();
  if (plan != nullptr || known.refused) return plan;
  plan = Make(p, workspace_bytes, name);
  known.plan = plan;
  known.refused = plan == nullptr;
  return plan;
}

std::vector<std::string> CudnnConvolution::Offered(const CudaConvolution& p,
                                                   int64_t workspace_bytes, size_t most) {
  CudnnHandle* device = CudnnHandle::OfDevice();
  if (device == nullptr) return {};
  std::lock_guard<std::mutex> lock(device->mutex);
  return cudnn::OfferedEngines(p, {device->handle, nullptr}, workspace_bytes, most);
}

CudnnConvolution::~CudnnConvolution() {
  cudnn::OpenedLibrary().descriptor_destroy(plan_);
  cudnn::OpenedLibrary().descriptor_destroy(config_);
}

CudaError CudnnConvolution::Run(const CudnnOperands& operands, void* workspace,
                                CudaStreamHandle stream) const {
  const int64_t ids[6] = {cudnn::kX,      cudnn::kW,    cudnn::kY,
                          cudnn::kPivots, cudnn::kSums, cudnn::kSquares};
  const void* places[6] = {operands.x,      operands.w,    operands.y,
                           operands.pivots, operands.sums, operands.squares};
  const int64_t count = operands.pivots == nullptr ? 3 : 6;
  return static_cast<CudnnHandle*>(handle_)->Run(plan_, ids, places, count, workspace, stream);
}

const char* CudnnLibrary(const char* path, bool* found) {
  const cudnn::Library& library = cudnn::OpenedLibrary(path);
  *found = library.found;
  return library.text;
}

const char* CudnnErrorText(int status) {
  const cudnn::Library& library = cudnn::OpenedLibrary();
  return library.found ? library.error_text(status) : library.text;
}

}  // namespace oneflow::kernels
