// SoftStreams: streams, events, captures and graphs without a GPU.
//
// A stream is a thread with a queue; an event is a count of records and of those that were reached.
// While a stream is captured its work becomes nodes of a graph, with the nodes that stand before each by
// the order of streams and by events; streams join a capture by waiting for an event of it. A graph that
// is launched runs its nodes one after the other in an order drawn among those that their edges allow, so
// an edge that is missing shows. Test code only. Threads: as CudaApi; a capture comes from one thread.
// Read next: kernels/cuda/soft_cuda_for_test.cc.
#ifndef ONEFLOW_KERNELS_CUDA_SOFT_STREAMS_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_SOFT_STREAMS_FOR_TEST_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

struct SoftCall;

// In the order of the stream, or at once on the null stream; a node where the stream is captured.
CudaError EnqueueSoft(CudaStreamHandle stream, std::function<void()> work);
// The same for one rank's part of a collective (soft_nccl_for_test.h): a node meets those of the other ranks
// in its graph.
CudaError EnqueueSoftCall(CudaStreamHandle stream, std::shared_ptr<const SoftCall> call);
bool IsCaptured(CudaStreamHandle stream);
// The GPU that it belongs to; the calling thread's for the null stream.
int SoftGpuOf(CudaStreamHandle stream);
// Drawn for each launch: the order of fibers, and of a graph's nodes.
uint64_t NextSoftSeed();

// The functions of the table that these are.
CudaError SoftStreamCreate(CudaStreamHandle* stream);
CudaError SoftStreamDestroy(CudaStreamHandle stream);
CudaError SoftStreamSynchronize(CudaStreamHandle stream);
CudaError SoftStreamWait(CudaStreamHandle stream, CudaEventHandle event);
CudaError SoftEventCreate(CudaEventHandle* event, bool timed);
CudaError SoftEventDestroy(CudaEventHandle event);
CudaError SoftEventRecord(CudaEventHandle event, CudaStreamHandle stream);
CudaError SoftEventQuery(CudaEventHandle event, bool* finished);
CudaError SoftEventSynchronize(CudaEventHandle event);
CudaError SoftEventMilliseconds(CudaEventHandle begin, CudaEventHandle end, float* milliseconds);
CudaError SoftCaptureBegin(CudaStreamHandle stream);
CudaError SoftCaptureEnd(CudaStreamHandle stream, CudaGraphHandle* graph);
CudaError SoftGraphDestroy(CudaGraphHandle graph);
CudaError SoftGraphInstantiate(CudaGraphExecHandle* exec, CudaGraphHandle graph);
CudaError SoftGraphLaunch(CudaGraphExecHandle exec, CudaStreamHandle stream);
CudaError SoftGraphExecDestroy(CudaGraphExecHandle exec);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SOFT_STREAMS_FOR_TEST_H_
