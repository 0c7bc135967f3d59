// SoftTrace: the calls that were made of software CUDA, in order, for tests that count them.
//
// Test code only; one list for the process. Threads: any. Invariant: while it is off nothing is kept.
// A line is "THREAD CALL STREAM OBJECT GPU": threads, streams and objects (events, graphs) are numbered in the
// order in which they first appear, "-" stands for none; what is captured has a "*" behind its stream. The GPU is the stream's, without one the
// thread's.
// Read next: kernels/cuda/soft_cuda_for_test.cc.
#ifndef ONEFLOW_KERNELS_CUDA_SOFT_TRACE_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_SOFT_TRACE_FOR_TEST_H_

#include <string>

namespace oneflow::kernels {

void TraceSoftCall(const char* call, const void* stream, bool captured, const void* object,
                   int gpu);
// Forgets what was kept; `on`: keeps what comes.
void StartSoftTrace(bool on);
std::string SoftTraceText();

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SOFT_TRACE_FOR_TEST_H_
