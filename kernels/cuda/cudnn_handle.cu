#include <cuda_runtime.h>

#include <map>

#include "kernels/cuda/cudnn_handle.h"

namespace oneflow::kernels {
namespace {

CudaError Code(cudnn::Status status) { return status == 0 ? 0 : kCudnnErrors + status; }

}  // namespace

CudnnHandle* CudnnHandle::OfDevice() {
  static std::mutex mutex;
  static std::map<int, CudnnHandle>* handles = new std::map<int, CudnnHandle>;
  const cudnn::Library& library = cudnn::OpenedLibrary();
  int device = 0;
  if (!library.found || cudaGetDevice(&device) != cudaSuccess) return nullptr;
  std::lock_guard<std::mutex> lock(mutex);
  CudnnHandle& found = (*handles)[device];
  if (found.handle == nullptr && library.create(&found.handle) != 0) found.handle = nullptr;
  return found.handle == nullptr ? nullptr : &found;
}

CudaError CudnnHandle::Run(cudnn::Descriptor plan, const int64_t* ids, const void* const* places,
                           int64_t count, void* workspace, CudaStreamHandle stream) {
  const cudnn::Library& library = cudnn::OpenedLibrary();
  cudnn::Owned pack(cudnn::kVariantPack);
  pack.Set(cudnn::kPackIds, cudnn::kTypeInt64, ids, count)
      .Set(cudnn::kPackPointers, cudnn::kTypePointer, places, count)
      .Set(cudnn::kPackWorkspace, cudnn::kTypePointer, workspace)
      .Finalize();
  if (!pack.ok()) return Code(pack.status());
  std::lock_guard<std::mutex> lock(mutex);
  if (const cudnn::Status status = library.set_stream(handle, stream); status != 0) {
    return Code(status);
  }
  return Code(library.execute(handle, plan, pack.get()));
}

}  // namespace oneflow::kernels
