// ctc_loss and its gradient: formulas in kernels/scalar/ctc.h. A block per sample, a thread per state,
// frames one after the other with a barrier between.
//
// Bytes per sample: alphas are written once forward and read once backward, log_probs and its gradient
// once each; betas and shares stay in the second cache. Frames that wait for each other leave a GPU idle
// but for the number of samples: predicted 2 us a frame, whatever the states, up to a block's threads. A
// sample with a length or label out of range is reported, has a NaN loss and gradient and reads nothing
// out of bounds.
#include <cstring>
#include <limits>

#include "base/dtype.h"
#include "kernels/cuda/data_error.h"
#include "kernels/cuda/device_code.h"
#include "kernels/cuda/families.h"
#include "kernels/scalar/ctc.h"

namespace oneflow::kernels {
namespace {

template <typename C>
struct CtcOperands {
  const C* log_probs;
  const int64_t *targets, *input_lengths, *target_lengths;
  __device__ __forceinline__ CtcSample<C> Sample(const CtcProblem& p, int64_t i) const {
    return {p, i, log_probs, targets, input_lengths, target_lengths};
  }
  static CtcOperands Of(const CudaOperands& a) {
    return {static_cast<const C*>(a.in[0]), static_cast<const int64_t*>(a.in[1]),
            static_cast<const int64_t*>(a.in[2]), static_cast<const int64_t*>(a.in[3])};
  }
};

template <typename C>
__global__ void CtcLossKernel(CtcProblem p, CtcOperands<C> in, C* loss, C* alphas_of_all,
                              StepBlock* block, uint32_t task) {
  const int64_t states = p.states();
  for (int64_t i = blockIdx.x; i < p.samples; i += gridDim.x) {
    const CtcSample<C> sample = in.Sample(p, i);
    const CtcFault fault = sample.Fault();
    const bool legal = fault.code == DataErrorCode::kNone;
    C* alphas = alphas_of_all + i * p.frames * states;
    for (int64_t t = 0; t < p.frames; ++t) {
      C* here = alphas + t * states;
      const C* before = t == 0 ? here : here - states;  // not read at frame 0
      for (int64_t r = threadIdx.x; r < states; r += blockDim.x) {
        here[r] = legal ? sample.Alpha(t, r, before) : sample.Never();
      }
      __syncthreads();
    }
    if (threadIdx.x == 0) {
      if (!legal) ReportWrongData(block, task, fault.code, fault.value, fault.bound);
      loss[i] = legal ? sample.Loss(alphas, states) : std::numeric_limits<C>::quiet_NaN();
    }
  }
}
template <typename C>
CudaError CtcLoss(const CtcProblem* p, const CudaOperands* a, CudaStreamHandle stream) {
  return LaunchBlocks(&CtcLossKernel<C>, std::min(p->samples, kMaxBlocks), kThreads, stream, *p,
                      CtcOperands<C>::Of(*a), static_cast<C*>(a->out[0]),
                      static_cast<C*>(a->out[1]), a->block, a->task);
}

// True if no state before `state` has its class; blanks are state 0's.
template <typename C>
__device__ __forceinline__ bool IsFirstOfClass(const CtcSample<C>& sample, int64_t state) {
  if (state == 0) return true;
  const int64_t of = sample.ClassOf(state);
  if (of == sample.ClassOf(0)) return false;
  for (int64_t r = 1; r < state; r += 2) {
    if (sample.ClassOf(r) == of) return false;
  }
  return true;
}

// `space`: for each sample the betas of two frames and the shares of one.
template <typename C>
__global__ void CtcLossGradKernel(CtcProblem p, CtcOperands<C> in, const C* alphas_of_all,
                                  const C* losses, const C* dlosses, C* dlog_probs, C* space) {
  const int64_t states = p.states();
  for (int64_t i = blockIdx.x; i < p.samples; i += gridDim.x) {
    const CtcSample<C> sample = in.Sample(p, i);
    const bool legal = sample.Fault().code == DataErrorCode::kNone;
    const C loss = losses[i], dloss = dlosses[i];
    const int64_t frames = legal ? sample.frames() : p.frames;
    const bool is_nan = dloss != 0 && (!legal || loss == -sample.Never());
    C* now = space + i * 3 * states;
    C* behind = now + states;
    C* shares = behind + states;
    for (int64_t t = p.frames - 1; t >= 0; --t) {
      C* row = dlog_probs + (t * p.samples + i) * p.classes;
      const bool is_constant = t >= frames || dloss == 0 || is_nan;
      const C constant = t < frames && is_nan ? std::numeric_limits<C>::quiet_NaN() : C{0};
      const C* log_probs = in.log_probs + (t * p.samples + i) * p.classes;
      for (int64_t c = threadIdx.x; c < p.classes; c += blockDim.x) {
        row[c] = is_constant ? constant : ExpOf(log_probs[c]) * dloss;
      }
      if (is_constant) continue;
      const C* alphas = alphas_of_all + (i * p.frames + t) * states;
      for (int64_t r = threadIdx.x; r < sample.states(); r += blockDim.x) {
        now[r] = sample.Beta(t, r, behind);
        shares[r] = sample.Share(t, r, alphas[r], now[r], loss);
      }
      __syncthreads();
      // A thread per class that has a state: the sum is in the order of the states in every run.
      for (int64_t r = threadIdx.x; r < sample.states(); r += blockDim.x) {
        if (!IsFirstOfClass(sample, r)) continue;
        const int64_t of = sample.ClassOf(r);
        C total = 0;
        for (int64_t s = r; s < sample.states(); ++s) {
          if (sample.ClassOf(s) == of) total += shares[s];
        }
        row[of] -= total * dloss;
      }
      __syncthreads();
      C* const next = behind;
      behind = now;
      now = next;
    }
  }
}
template <typename C>
CudaError CtcLossGrad(const CtcProblem* p, const CudaOperands* a, CudaStreamHandle stream) {
  return LaunchBlocks(&CtcLossGradKernel<C>, std::min(p->samples, kMaxBlocks), kThreads, stream, *p,
                      CtcOperands<C>::Of(*a), static_cast<const C*>(a->in[4]),
                      static_cast<const C*>(a->in[5]), static_cast<const C*>(a->in[6]),
                      static_cast<C*>(a->out[0]), static_cast<C*>(a->workspace));
}

CudaRun<CtcProblem> FindCtc(const char* op, int dtype) {
  const bool grad = std::strcmp(op, "ctc_loss_grad") == 0;
  if (static_cast<DType>(dtype) == DType::kF32) return grad ? &CtcLossGrad<float> : &CtcLoss<float>;
  if (static_cast<DType>(dtype) == DType::kF64) {
    return grad ? &CtcLossGrad<double> : &CtcLoss<double>;
  }
  return nullptr;
}

}  // namespace

void AddCtc(CudaApi* api) { api->find_ctc = &FindCtc; }

}  // namespace oneflow::kernels
