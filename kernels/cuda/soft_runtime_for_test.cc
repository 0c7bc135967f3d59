#include <cstdio>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "kernels/cuda/device_code.h"
#include "kernels/cuda/soft_cuda_for_test.h"
#include "kernels/cuda/soft_errors_for_test.h"
#include "kernels/cuda/soft_grid_for_test.h"
#include "kernels/cuda/soft_memory_for_test.h"
#include "kernels/cuda/soft_nccl_for_test.h"
#include "kernels/cuda/soft_streams_for_test.h"
#include "kernels/cuda/soft_trace_for_test.h"

namespace oneflow::kernels {
namespace {

void Trace(const char* call, CudaStreamHandle stream = nullptr, const void* object = nullptr) {
  TraceSoftCall(call, stream, IsCaptured(stream), object, SoftGpuOf(stream));
}

// ---- Devices and memory ----

CudaError DeviceCount(int* count) {
  *count = SoftGpus::Of().count();
  return 0;
}
CudaError Properties(int device, CudaDeviceProperties* out) {
  if (device < 0 || device >= SoftGpus::Of().count()) return kSoftNoDevice;
  std::memset(out, 0, sizeof(*out));
  std::strcpy(out->name, "software CUDA");
  std::snprintf(out->uuid, sizeof(out->uuid), "GPU %d", device);  // one of the host's
  out->memory_bytes = SoftMemory::Of().SizeOf(device).total;
  out->multiprocessors = 1;
  return 0;
}
CudaError Memory(int device, CudaMemory* out) {
  Trace("device_memory");
  if (device < 0 || device >= SoftGpus::Of().count()) return kSoftNoDevice;
  *out = SoftMemory::Of().SizeOf(device);
  return 0;
}
CudaError SetDevice(int device) {
  Trace("set_device");
  return SoftGpus::Of().SetCurrent(device);
}
CudaError EnablePeer(int device, int peer, bool* direct) {
  Trace("enable_peer");
  return SoftGpus::Of().EnablePeer(device, peer, direct);
}
CudaError Allocate(void** data, int64_t bytes) {
  Trace("allocate");
  return SoftMemory::Of().Allocate(data, bytes, SoftGpus::Current());
}
CudaError AllocatePinned(void** data, int64_t bytes) {
  Trace("allocate");
  return SoftMemory::Of().Allocate(data, bytes, SoftMemory::kHost);
}
CudaError Release(void* data) {
  Trace("release");
  return SoftMemory::Of().Release(data);
}
CudaError GrowingReserve(void** data, int64_t bytes, int device) {
  Trace("growing_reserve");
  if (device < 0 || device >= SoftGpus::Of().count()) return kSoftNoDevice;
  return SoftMemory::Of().Reserve(data, bytes, device);
}
CudaError GrowingGrow(void* data, int64_t bytes) {
  Trace("growing_grow");
  return SoftMemory::Of().Grow(data, bytes);
}
CudaError GrowingRelease(void* data) {
  Trace("growing_release");
  return SoftMemory::Of().ReleaseGrown(data);
}

// ---- Streams, events, graphs: as in soft_streams_for_test.h, with a line in the trace ----

CudaError StreamSynchronize(CudaStreamHandle stream) {
  Trace("stream_synchronize", stream);
  return SoftStreamSynchronize(stream);
}
CudaError StreamWait(CudaStreamHandle stream, CudaEventHandle event) {
  Trace("stream_wait", stream, event);
  return SoftStreamWait(stream, event);
}
CudaError StreamCallback(CudaStreamHandle stream, void (*done)(void*), void* context) {
  Trace("stream_callback", stream);
  return EnqueueSoft(stream, [done, context] { done(context); });
}
CudaError EventRecord(CudaEventHandle event, CudaStreamHandle stream) {
  Trace("event_record", stream, event);
  return SoftEventRecord(event, stream);
}
CudaError EventQuery(CudaEventHandle event, bool* finished) {
  Trace("event_query", nullptr, event);
  return SoftEventQuery(event, finished);
}
CudaError EventSynchronize(CudaEventHandle event) {
  Trace("event_synchronize", nullptr, event);
  return SoftEventSynchronize(event);
}
CudaError CaptureBegin(CudaStreamHandle stream) {
  Trace("capture_begin", stream);
  return SoftCaptureBegin(stream);
}
CudaError CaptureEnd(CudaStreamHandle stream, CudaGraphHandle* graph) {
  Trace("capture_end", stream);
  return SoftCaptureEnd(stream, graph);
}
CudaError GraphInstantiate(CudaGraphExecHandle* exec, CudaGraphHandle graph) {
  Trace("graph_instantiate");
  return SoftGraphInstantiate(exec, graph);
}
CudaError GraphLaunch(CudaGraphExecHandle exec, CudaStreamHandle stream) {
  Trace("graph_launch", stream, exec);
  return SoftGraphLaunch(exec, stream);
}
CudaError GraphExecDestroy(CudaGraphExecHandle exec) {
  Trace("graph_exec_destroy", nullptr, exec);
  return SoftGraphExecDestroy(exec);
}

// ---- Copies ----

CudaError Copy(void* to, const void* from, int64_t bytes, CudaStreamHandle stream) {
  Trace("copy", stream);
  if (!SoftMemory::Of().Touch(SoftGpuOf(stream), to, "a copy") ||
      !SoftMemory::Of().Touch(SoftGpuOf(stream), from, "a copy")) {
    return SoftMemory::Of().TellError();
  }
  return EnqueueSoft(stream, [=] { std::memmove(to, from, static_cast<size_t>(bytes)); });
}
CudaError CopyPeer(void* to, int to_gpu, const void* from, int from_gpu, int64_t bytes,
                   CudaStreamHandle stream) {
  Trace("copy_peer", stream);
  int to_owner = SoftMemory::kHost, from_owner = SoftMemory::kHost;
  if (!SoftMemory::Of().OwnerOf(to, &to_owner) || to_owner != to_gpu ||
      !SoftMemory::Of().OwnerOf(from, &from_owner) || from_owner != from_gpu) {
    return kSoftInvalid;
  }
  return EnqueueSoft(stream, [=] { std::memmove(to, from, static_cast<size_t>(bytes)); });
}
CudaError CopyIn(void* to, const void* from, int64_t bytes, CudaStreamHandle stream) {
  Trace("copy_in", stream);
  SoftMemory::Of().Touch(SoftGpuOf(stream), to, "a copy");
  const char* first = static_cast<const char*>(from);
  return EnqueueSoft(stream, [to, read = std::vector<char>(first, first + bytes)] {
    if (!read.empty()) std::memcpy(to, read.data(), read.size());
  });
}
CudaError Zero(void* data, int64_t bytes, CudaStreamHandle stream) {
  Trace("zero", stream);
  if (!SoftMemory::Of().Touch(SoftGpuOf(stream), data, "a fill with zeros")) {
    return SoftMemory::Of().TellError();
  }
  return EnqueueSoft(stream, [=] { std::memset(data, 0, static_cast<size_t>(bytes)); });
}

}  // namespace

CudaApi SoftCudaRuntime() {
  CudaApi api = {};
  api.version = kCudaApiVersion;
  api.error_text = &SoftErrorText;
  api.device_count = &DeviceCount;
  api.device_properties = &Properties;
  api.device_memory = &Memory;
  api.set_device = &SetDevice;
  api.enable_peer = &EnablePeer;
  api.allocate = &Allocate;
  api.release = &Release;
  api.growing_reserve = &GrowingReserve;
  api.growing_grow = &GrowingGrow;
  api.growing_release = &GrowingRelease;
  api.allocate_pinned = &AllocatePinned;
  api.release_pinned = &Release;
  api.stream_create = &SoftStreamCreate;
  api.stream_destroy = &SoftStreamDestroy;
  api.stream_synchronize = &StreamSynchronize;
  api.stream_wait = &StreamWait;
  api.stream_callback = &StreamCallback;
  api.event_create = &SoftEventCreate;
  api.event_destroy = &SoftEventDestroy;
  api.event_record = &EventRecord;
  api.event_query = &EventQuery;
  api.event_synchronize = &EventSynchronize;
  api.event_milliseconds = &SoftEventMilliseconds;
  api.capture_begin = &CaptureBegin;
  api.capture_end = &CaptureEnd;
  api.graph_destroy = &SoftGraphDestroy;
  api.graph_instantiate = &GraphInstantiate;
  api.graph_launch = &GraphLaunch;
  api.graph_exec_destroy = &GraphExecDestroy;
  api.copy = &Copy;
  api.copy_peer = &CopyPeer;
  api.copy_in = &CopyIn;
  api.zero = &Zero;
  AddSoftNccl(&api);
  return api;
}

void SoftTouch(CudaStreamHandle stream, const void* argument, size_t bytes) {
  if (SoftGpus::Of().count() == 1) return;
  const int gpu = SoftGpuOf(stream);
  for (size_t at = 0; at + sizeof(void*) <= bytes; at += sizeof(void*)) {
    const void* data = nullptr;
    std::memcpy(&data, static_cast<const char*>(argument) + at, sizeof(data));
    SoftMemory::Of().Touch(gpu, data, "a kernel");
  }
}

CudaError SoftLaunch(int64_t blocks, int threads, CudaStreamHandle stream, bool barriers,
                     std::function<void()> body) {
  Trace("launch", stream);
  if (SoftGpuOf(stream) != SoftGpus::Current()) return kSoftInvalidHandle;
  const uint64_t seed = NextSoftSeed();
  return EnqueueSoft(stream, [=] { RunSoftGrid(blocks, threads, barriers, body, seed); });
}

}  // namespace oneflow::kernels
