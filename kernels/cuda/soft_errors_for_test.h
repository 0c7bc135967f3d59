// The errors that software CUDA gives, with CUDA's numbers.
//
// Test code only. Constants. Threads: any. Read next: kernels/cuda/soft_cuda_for_test.cc.
#ifndef ONEFLOW_KERNELS_CUDA_SOFT_ERRORS_FOR_TEST_H_
#define ONEFLOW_KERNELS_CUDA_SOFT_ERRORS_FOR_TEST_H_

#include "kernels/cuda/cuda_api.h"

namespace oneflow::kernels {

inline constexpr CudaError kSoftInvalid = 1;      // cudaErrorInvalidValue
inline constexpr CudaError kSoftOutOfMemory = 2;  // cudaErrorMemoryAllocation
inline constexpr CudaError kSoftNoDevice = 101;   // cudaErrorInvalidDevice
// A stream or an event of another device than it takes.
inline constexpr CudaError kSoftInvalidHandle = 400;
inline constexpr CudaError kSoftIllegalAddress = 700;
inline constexpr CudaError kSoftNotSupported = 801;
// Of NCCL: what was called cannot meet; software NCCL has written how.
inline constexpr CudaError kSoftCollective = kNcclErrors + 5;  // ncclInvalidUsage
// The host waits for a stream or an event that is being captured.
inline constexpr CudaError kSoftCaptureUnsupported = 900;
inline constexpr CudaError kSoftCaptureInvalidated = 901;  // by an error before
// A stream that joined a capture was not waited for by the one that began it.
inline constexpr CudaError kSoftCaptureUnjoined = 904;
// What is captured waits for what is not.
inline constexpr CudaError kSoftCaptureIsolation = 905;

inline const char* SoftErrorText(CudaError error) {
  switch (error) {
    case 0:
      return "no error";
    case kSoftInvalid:
      return "invalid argument";
    case kSoftOutOfMemory:
      return "out of memory";
    case kSoftIllegalAddress:
      return "memory was written out of bounds or after its release, or is another GPU's";
    case kSoftCollective:
      return "collectives that cannot meet, or are called outside of a group";
    case kSoftNoDevice:
      return "no such GPU";
    case kSoftInvalidHandle:
      return "a stream or an event of another GPU";
    case kSoftCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case kSoftCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case kSoftCaptureUnjoined:
      return "capturing stream has unjoined work";
    case kSoftCaptureIsolation:
      return "dependency created on uncaptured work in another stream";
    default:
      return "software CUDA error";
  }
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CUDA_SOFT_ERRORS_FOR_TEST_H_
