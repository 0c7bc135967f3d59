// The table of liboneflow_cuda.so: thin wrappers of the CUDA run time (linked in, so that the
// library needs nothing but a driver) and the kernels of this folder.
#include <cuda_runtime.h>

#include <cstring>
#include <thread>

#include "kernels/cuda/cudnn_convolution.h"
#include "kernels/cuda/families.h"
#include "kernels/cuda/growing_memory.h"
#include "kernels/cuda/memory_figures.h"
#include "kernels/cuda/nccl.h"

namespace oneflow::kernels {
namespace {

CudaError Code(cudaError_t error) {
  if (error != cudaSuccess) cudaGetLastError();  // an error is told once
  return static_cast<CudaError>(error);
}
cudaStream_t Stream(CudaStreamHandle stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t Event(CudaEventHandle event) { return static_cast<cudaEvent_t>(event); }

const char* ErrorText(CudaError error) {
  if (error >= kCudnnErrors) return CudnnErrorText(error - kCudnnErrors);
  if (error >= kNcclErrors) return NcclErrorText(error - kNcclErrors);
  switch (error - kLibraryErrors) {  // a cublasStatus_t
    case 1:
      return "cuBLASLt is not initialised";
    case 3:
      return "cuBLASLt could not allocate";
    case 7:
      return "cuBLASLt: an invalid value, or a pointer that is not aligned as was said";
    case 8:
      return "cuBLASLt: not possible on this GPU";
    case 13:
      return "cuBLASLt: the kernel failed";
    case 15:
      return "cuBLASLt does not support this product";
    default:
      break;
  }
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}
CudaError DeviceCount(int* count) {
  *count = 0;
  return Code(cudaGetDeviceCount(count));
}
CudaError Properties(int device, CudaDeviceProperties* out) {
  cudaDeviceProp found;
  if (const cudaError_t error = cudaGetDeviceProperties(&found, device); error != cudaSuccess) {
    return Code(error);
  }
  std::memset(out, 0, sizeof(*out));
  std::strncpy(out->name, found.name, sizeof(out->name) - 1);
  static_assert(sizeof(out->uuid) == sizeof(found.uuid));
  std::memcpy(out->uuid, &found.uuid, sizeof(out->uuid));
  out->memory_bytes = static_cast<int64_t>(found.totalGlobalMem);
  out->multiprocessors = found.multiProcessorCount;
  out->major = found.major;
  out->minor = found.minor;
  cudaDriverGetVersion(&out->driver_version);
  cudaRuntimeGetVersion(&out->runtime_version);
  return 0;
}
CudaError Memory(int device, CudaMemory* out) {
  *out = {0, 0, kLaterBytes, kCommunicatorBytes, kGranuleBytes};
  size_t free = 0, total = 0;
  cudaError_t error = cudaSuccess;
  // On a thread of its own: the driver would make a context on the caller's device to go back to it.
  std::thread([&] {
    error = cudaSetDevice(device);
    if (error == cudaSuccess) error = cudaMemGetInfo(&free, &total);
  }).join();
  out->free = static_cast<int64_t>(free);
  out->total = static_cast<int64_t>(total);
  return Code(error);
}
CudaError SetDevice(int device) { return Code(cudaSetDevice(device)); }
CudaError EnablePeer(int device, int peer, bool* direct) {
  *direct = false;
  int can = 0;
  if (const CudaError error = SetDevice(device); error != 0) return error;
  if (const cudaError_t error = cudaDeviceCanAccessPeer(&can, device, peer); error != cudaSuccess) {
    return Code(error);
  }
  if (can == 0) return 0;
  const cudaError_t error = cudaDeviceEnablePeerAccess(peer, 0);
  *direct = error == cudaSuccess || error == cudaErrorPeerAccessAlreadyEnabled;
  const CudaError code = Code(error);
  return *direct ? 0 : code;
}
CudaError Allocate(void** data, int64_t bytes) {
  return Code(cudaMalloc(data, static_cast<size_t>(bytes)));
}
CudaError Release(void* data) { return Code(cudaFree(data)); }
CudaError AllocatePinned(void** data, int64_t bytes) {
  return Code(cudaMallocHost(data, static_cast<size_t>(bytes)));
}
CudaError ReleasePinned(void* data) { return Code(cudaFreeHost(data)); }
CudaError StreamCreate(CudaStreamHandle* stream) {
  return Code(
      cudaStreamCreateWithFlags(reinterpret_cast<cudaStream_t*>(stream), cudaStreamNonBlocking));
}
CudaError StreamDestroy(CudaStreamHandle stream) { return Code(cudaStreamDestroy(Stream(stream))); }
CudaError StreamSynchronize(CudaStreamHandle stream) {
  return Code(cudaStreamSynchronize(Stream(stream)));
}
CudaError StreamWait(CudaStreamHandle stream, CudaEventHandle event) {
  return Code(cudaStreamWaitEvent(Stream(stream), Event(event), 0));
}
CudaError StreamCallback(CudaStreamHandle stream, void (*done)(void*), void* context) {
  return Code(cudaLaunchHostFunc(Stream(stream), done, context));
}
CudaError EventCreate(CudaEventHandle* event, bool timed) {
  return Code(cudaEventCreateWithFlags(
      reinterpret_cast<cudaEvent_t*>(event),
      timed ? cudaEventDefault : cudaEventDisableTiming | cudaEventBlockingSync));
}
CudaError EventDestroy(CudaEventHandle event) { return Code(cudaEventDestroy(Event(event))); }
CudaError EventRecord(CudaEventHandle event, CudaStreamHandle stream) {
  return Code(cudaEventRecord(Event(event), Stream(stream)));
}
CudaError EventQuery(CudaEventHandle event, bool* finished) {
  const cudaError_t error = cudaEventQuery(Event(event));
  *finished = error == cudaSuccess;
  return error == cudaErrorNotReady ? 0 : Code(error);
}
CudaError EventSynchronize(CudaEventHandle event) {
  return Code(cudaEventSynchronize(Event(event)));
}
CudaError EventMilliseconds(CudaEventHandle begin, CudaEventHandle end, float* milliseconds) {
  return Code(cudaEventElapsedTime(milliseconds, Event(begin), Event(end)));
}
// Of this thread's calls alone: others may allocate or wait meanwhile.
CudaError CaptureBegin(CudaStreamHandle stream) {
  return Code(cudaStreamBeginCapture(Stream(stream), cudaStreamCaptureModeThreadLocal));
}
CudaError CaptureEnd(CudaStreamHandle stream, CudaGraphHandle* graph) {
  return Code(cudaStreamEndCapture(Stream(stream), reinterpret_cast<cudaGraph_t*>(graph)));
}
CudaError GraphDestroy(CudaGraphHandle graph) {
  return Code(cudaGraphDestroy(static_cast<cudaGraph_t>(graph)));
}
CudaError GraphInstantiate(CudaGraphExecHandle* exec, CudaGraphHandle graph) {
  return Code(cudaGraphInstantiate(reinterpret_cast<cudaGraphExec_t*>(exec),
                                   static_cast<cudaGraph_t>(graph), 0));
}
CudaError GraphLaunch(CudaGraphExecHandle exec, CudaStreamHandle stream) {
  return Code(cudaGraphLaunch(static_cast<cudaGraphExec_t>(exec), Stream(stream)));
}
CudaError GraphExecDestroy(CudaGraphExecHandle exec) {
  return Code(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(exec)));
}
CudaError Copy(void* to, const void* from, int64_t bytes, CudaStreamHandle stream) {
  return Code(
      cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, Stream(stream)));
}
CudaError CopyPeer(void* to, int to_device, const void* from, int from_device, int64_t bytes,
                   CudaStreamHandle stream) {
  return Code(cudaMemcpyPeerAsync(to, to_device, from, from_device, static_cast<size_t>(bytes),
                                  Stream(stream)));
}
CudaError CopyIn(void* to, const void* from, int64_t bytes, CudaStreamHandle stream) {
  const CudaError error = Copy(to, from, bytes, stream);
  if (error != 0) return error;
  // Pageable memory is read into the driver's own before the call returns; pinned memory is not.
  cudaPointerAttributes attributes = {};
  if (cudaPointerGetAttributes(&attributes, from) == cudaSuccess &&
      attributes.type == cudaMemoryTypeUnregistered) {
    return 0;
  }
  return StreamSynchronize(stream);
}
CudaError Zero(void* data, int64_t bytes, CudaStreamHandle stream) {
  return Code(cudaMemsetAsync(data, 0, static_cast<size_t>(bytes), Stream(stream)));
}

CudaApi MakeTable() {
  CudaApi api = {};
  api.version = kCudaApiVersion;
  api.error_text = &ErrorText;
  api.device_count = &DeviceCount;
  api.device_properties = &Properties;
  api.device_memory = &Memory;
  api.set_device = &SetDevice;
  api.enable_peer = &EnablePeer;
  api.allocate = &Allocate;
  api.release = &Release;
  api.allocate_pinned = &AllocatePinned;
  api.release_pinned = &ReleasePinned;
  api.stream_create = &StreamCreate;
  api.stream_destroy = &StreamDestroy;
  api.stream_synchronize = &StreamSynchronize;
  api.stream_wait = &StreamWait;
  api.stream_callback = &StreamCallback;
  api.event_create = &EventCreate;
  api.event_destroy = &EventDestroy;
  api.event_record = &EventRecord;
  api.event_query = &EventQuery;
  api.event_synchronize = &EventSynchronize;
  api.capture_begin = &CaptureBegin;
  api.capture_end = &CaptureEnd;
  api.graph_destroy = &GraphDestroy;
  api.graph_instantiate = &GraphInstantiate;
  api.graph_launch = &GraphLaunch;
  api.graph_exec_destroy = &GraphExecDestroy;
  api.event_milliseconds = &EventMilliseconds;
  api.copy = &Copy;
  api.copy_peer = &CopyPeer;
  api.copy_in = &CopyIn;
  api.zero = &Zero;
  AddKernels(&api);
  AddGrowingMemory(&api);
  AddNccl(&api);
  return api;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const CudaApi* oneflow_cuda_api() {
  static const CudaApi api = MakeTable();
  return &api;
}

}  // namespace oneflow::kernels
