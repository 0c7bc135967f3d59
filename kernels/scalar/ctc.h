// CtcSample: one sample of ctc_loss: its states and how one is reached from those before and behind it.
//
// The labels, with a blank before, between and behind them, are 2 labels + 1 states; state r is a blank
// where r is even. A way goes from a frame to the next at the same state, the next one, or past a blank
// between two labels that differ. alpha[t][r]: logarithm of the probability of all ways that begin at
// the first frame and are at r in frame t, frame t included; beta the same from the last frame backwards.
//
// A view of a kernel's operands, for all kinds of devices. Threads: const access from any. Invariant: a
// sample that is not legal() reads nothing but its lengths and labels. Read next: kernels/cpu/ctc.cc.
#ifndef ONEFLOW_KERNELS_SCALAR_CTC_H_
#define ONEFLOW_KERNELS_SCALAR_CTC_H_

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/scalar/math.h"
#include "kernels/scalar/types.h"
#include "kernels/step_block.h"

namespace oneflow::kernels {

// Of all samples: log_probs [frames, samples, classes], targets [samples, labels].
struct CtcProblem {
  int64_t frames = 0, samples = 0, classes = 0, labels = 0, blank = 0;
  OF_SCALAR int64_t states() const { return 2 * labels + 1; }
};

// A length or a label that lies out of range, as it is reported.
struct CtcFault {
  DataErrorCode code = DataErrorCode::kNone;
  int64_t value = 0, bound = 0;
};

template <typename C>
class CtcSample {
 public:
  OF_SCALAR CtcSample(const CtcProblem& problem, int64_t sample, const C* log_probs,
                      const int64_t* targets, const int64_t* input_lengths,
                      const int64_t* target_lengths)
      : problem_(problem),
        log_probs_(log_probs + sample * problem.classes),
        targets_(targets + sample * problem.labels),
        frames_(input_lengths[sample]),
        labels_(target_lengths[sample]) {}

  // The first length or label that is out of range.
  OF_SCALAR CtcFault Fault() const {
    if (frames_ < 0 || frames_ > problem_.frames)
      return {DataErrorCode::kLengthOutOfRange, frames_, problem_.frames};
    if (labels_ < 0 || labels_ > problem_.labels)
      return {DataErrorCode::kLengthOutOfRange, labels_, problem_.labels};
    for (int64_t i = 0; i < labels_; ++i) {
      if (targets_[i] < 0 || targets_[i] >= problem_.classes)
        return {DataErrorCode::kIndexOutOfRange, targets_[i], problem_.classes};
    }
    return {};
  }

  // What follows REQUIRES that nothing is out of range.
  OF_SCALAR int64_t frames() const { return frames_; }
  OF_SCALAR int64_t states() const { return 2 * labels_ + 1; }
  OF_SCALAR int64_t ClassOf(int64_t state) const {
    return state % 2 == 0 ? problem_.blank : targets_[state / 2];
  }
  OF_SCALAR C LogProb(int64_t frame, int64_t state) const {
    return log_probs_[frame * problem_.samples * problem_.classes + ClassOf(state)];
  }

  // alpha of a state from those of the frame before; `before` is not read at frame 0. -inf behind
  // the sample's frames and states.
  OF_SCALAR C Alpha(int64_t frame, int64_t state, const C* before) const {
    if (frame >= frames_ || state >= states()) return Never();
    if (frame == 0) return state < 2 ? LogProb(0, state) : Never();
    return LogProb(frame, state) + LogSum(before[state], state >= 1 ? before[state - 1] : Never(),
                                          Skips(state) ? before[state - 2] : Never());
  }
  // beta of a state from those of the frame behind, which is not read at the last frame.
  // REQUIRES: a frame and a state of the sample.
  OF_SCALAR C Beta(int64_t frame, int64_t state, const C* behind) const {
    const int64_t left = states() - 1 - state;
    if (frame == frames_ - 1) return left < 2 ? LogProb(frame, state) : Never();
    return LogProb(frame, state) +
           LogSum(behind[state], left >= 1 ? behind[state + 1] : Never(),
                  left >= 2 && Skips(state + 2) ? behind[state + 2] : Never());
  }
  // `alphas` of all frames, `row` apart.
  OF_SCALAR C Loss(const C* alphas, int64_t row) const {
    if (frames_ == 0) return labels_ == 0 ? C{0} : -Never();
    const C* last = alphas + (frames_ - 1) * row + states() - 1;
    return -LogSum(last[0], labels_ > 0 ? last[-1] : Never(), Never());
  }
  // The share of all ways that are at a state in a frame.
  OF_SCALAR C Share(int64_t frame, int64_t state, C alpha, C beta, C loss) const {
    if (alpha == Never() || beta == Never()) return 0;
    return ExpOf(alpha + beta - LogProb(frame, state) + loss);
  }

  static OF_SCALAR C Never() { return -std::numeric_limits<C>::infinity(); }

 private:
  // True if a way may come to `state` from the one before the blank in front of it.
  OF_SCALAR bool Skips(int64_t state) const {
    return state % 2 == 1 && state >= 3 && targets_[state / 2] != targets_[state / 2 - 1];
  }
  static OF_SCALAR C LogSum(C a, C b, C c) {
    const C larger = a > b ? a : b;
    const C most = larger > c ? larger : c;
    // An exponential of -inf is not quite 0 everywhere (ExpF), so nothing but -inf is asked for.
    if (most == Never()) return most;
    return most + LogOf(ExpOf(a - most) + ExpOf(b - most) + ExpOf(c - most));
  }

  const CtcProblem problem_;
  const C* const log_probs_;
  const int64_t* const targets_;
  const int64_t frames_, labels_;
};

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_SCALAR_CTC_H_
