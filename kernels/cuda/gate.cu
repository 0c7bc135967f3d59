// copy_gated: bytes into a state, unless the data was wrong: the second half of a kernel that knows no
// gate. Reads and writes each byte once; 16 at a time where both ends lie so. Bound by bytes; predicted
// 85 % of the copy rate.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/families.h"
#include "kernels/cuda/gate.h"

namespace oneflow::kernels {
namespace {

struct alignas(16) Sixteen {
  uint64_t word[2];
};

__global__ void CopyGatedKernel(CudaGate gate, char* to, const char* from, int64_t bytes,
                                int64_t sixteens) {
  if (IsShut(gate)) return;
  for (int64_t i = FirstItem(); i < sixteens; i += ItemStride()) {
    reinterpret_cast<Sixteen*>(to)[i] = reinterpret_cast<const Sixteen*>(from)[i];
  }
  for (int64_t i = 16 * sixteens + FirstItem(); i < bytes; i += ItemStride()) to[i] = from[i];
}

CudaError CopyGated(const CudaGate* gate, void* to, const void* from, int64_t bytes,
                    CudaStreamHandle stream) {
  const int64_t sixteens = IsAligned(to, 16) && IsAligned(from, 16) ? bytes / 16 : 0;
  const int64_t items = sixteens > 0 ? sixteens : bytes;
  return Launch(&CopyGatedKernel, BlocksFor(items), kThreads, stream, *gate, static_cast<char*>(to),
                static_cast<const char*>(from), bytes, sixteens);
}

}  // namespace

void AddGate(CudaApi* api) { api->copy_gated = &CopyGated; }

}  // namespace oneflow::kernels
