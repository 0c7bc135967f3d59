// ctc_loss and its gradient in f32 and f64: samples in parallel, frames one after the other.
//
// Bytes per sample: alphas are written once forward (T each) and read once backward; log_probs and its
// gradient once each. A sample with a length or label out of range is reported by ctc_loss, has a NaN
// loss and gradient and reads nothing out of bounds.
#include "kernels/cpu/ctc.h"

#include <algorithm>
#include <limits>

#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {

CtcProblem CtcProblemOf(const KernelSpec& spec) {
  const Shape& shape = spec.inputs.at(0).shape;
  return {shape.at(0), shape.at(1), shape.at(2), spec.inputs.at(1).shape.at(1),
          spec.attrs.Int("blank")};
}

namespace {

template <typename C>
constexpr C kNan = std::numeric_limits<C>::quiet_NaN();

// What both take.
SpecCheck CheckProblem(const KernelSpec& spec, size_t inputs, size_t outputs) {
  SpecCheck check(spec);
  check.Inputs(inputs).Outputs(outputs).Takes(check.in(0), {DType::kF32, DType::kF64});
  for (size_t i = 1; i < 4; ++i) check.Takes(check.in(i), {DType::kI64});
  check.Rank(check.in(0), 3, 3).Rank(check.in(1), 2, 2);
  if (!check.ok()) return check;
  const int64_t samples = check.in(0).shape[1];
  check.HasShape(check.in(1), {samples, check.in(1).shape[1]});
  for (size_t i = 2; i < 4; ++i) check.HasShape(check.in(i), {samples});
  check.Int("blank", 0, check.in(0).shape[2] - 1);
  return check;
}
void CheckLoss(SpecCheck* check, const Operand& operand) {
  check->Takes(operand, {check->in(0).dtype});
  if (check->ok()) check->HasShape(operand, {check->in(0).shape[1]});
}
void CheckAlphas(SpecCheck* check, const Operand& operand) {
  check->Takes(operand, {check->in(0).dtype});
  if (!check->ok()) return;
  const Shape& shape = check->in(0).shape;
  check->HasShape(operand, {shape[1], shape[0], 2 * check->in(1).shape[1] + 1});
}

absl::Status CheckForward(const KernelSpec& spec) {
  SpecCheck check = CheckProblem(spec, 4, 2);
  CheckLoss(&check, check.out(0));
  CheckAlphas(&check, check.out(1));
  return check.status();
}
absl::Status CheckGrad(const KernelSpec& spec) {
  SpecCheck check = CheckProblem(spec, 7, 1);
  CheckAlphas(&check, check.in(4));
  for (const size_t i : {5, 6}) CheckLoss(&check, check.in(i));
  return check.Same(check.out(0), check.in(0)).status();
}

// The betas of one frame per thread.
absl::StatusOr<Needs> DescribeGrad(const KernelSpec& spec) {
  return Needs{spec.threads * CtcProblemOf(spec).states() * SizeOf(spec.inputs.at(0).dtype), {}};
}

// Samples that are worth a thread: a state of a frame is three exponentials and a logarithm.
int64_t GrainOf(const CtcProblem& problem) {
  return kGrain / 64 / std::max<int64_t>(1, problem.frames * problem.states()) + 1;
}

template <typename C>
CtcSample<C> SampleOf(const CtcProblem& problem, int64_t sample, const KernelArgs& args) {
  return {problem,
          sample,
          In<C>(args, 0),
          In<int64_t>(args, 1),
          In<int64_t>(args, 2),
          In<int64_t>(args, 3)};
}

template <typename C>
KernelOr MakeForwardOf(const KernelSpec& spec) {
  const CtcProblem problem = CtcProblemOf(spec);
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    ParallelFor(threads, problem.samples, GrainOf(problem), [&](int64_t begin, int64_t end) {
      const int64_t states = problem.states();
      for (int64_t i = begin; i < end; ++i) {
        const CtcSample<C> sample = SampleOf<C>(problem, i, args);
        C* alphas = Out<C>(args, 1) + i * problem.frames * states;
        const CtcFault fault = sample.Fault();
        if (fault.code != DataErrorCode::kNone) {
          ReportDataError(args, fault.code, fault.value, fault.bound);
          std::fill_n(alphas, problem.frames * states, sample.Never());
          Out<C>(args, 0)[i] = kNan<C>;
          continue;
        }
        for (int64_t t = 0; t < problem.frames; ++t) {
          C* here = alphas + t * states;
          const C* before = t == 0 ? here : here - states;  // not read at frame 0
          for (int64_t r = 0; r < states; ++r) here[r] = sample.Alpha(t, r, before);
        }
        Out<C>(args, 0)[i] = sample.Loss(alphas, states);
      }
    });
  });
}

// The gradient of one sample; `betas`: space for those of one frame.
template <typename C>
void BackwardOf(const CtcProblem& problem, int64_t i, const KernelArgs& args, C* betas) {
  const CtcSample<C> sample = SampleOf<C>(problem, i, args);
  const bool legal = sample.Fault().code == DataErrorCode::kNone;
  const C loss = In<C>(args, 5)[i], dloss = In<C>(args, 6)[i];
  const int64_t frames = legal ? sample.frames() : problem.frames;
  const bool is_nan = dloss != 0 && (!legal || loss == -sample.Never());
  const auto row = [&](int64_t t) {
    return Out<C>(args, 0) + (t * problem.samples + i) * problem.classes;
  };
  for (int64_t t = problem.frames - 1; t >= 0; --t) {
    if (t >= frames || dloss == 0 || is_nan) {
      std::fill_n(row(t), problem.classes, t < frames && is_nan ? kNan<C> : C{0});
      continue;
    }
    const C* log_probs = In<C>(args, 0) + (t * problem.samples + i) * problem.classes;
    for (int64_t c = 0; c < problem.classes; ++c) row(t)[c] = ExpOf(log_probs[c]) * dloss;
    const C* alphas = In<C>(args, 4) + (i * problem.frames + t) * problem.states();
    for (int64_t r = 0; r < sample.states(); ++r) {
      // In place: a state is reached from itself and from those behind it.
      betas[r] = sample.Beta(t, r, betas);
      row(t)[sample.ClassOf(r)] -= sample.Share(t, r, alphas[r], betas[r], loss) * dloss;
    }
  }
}

template <typename C>
KernelOr MakeGradOf(const KernelSpec& spec) {
  const CtcProblem problem = CtcProblemOf(spec);
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const int parts = PartsOf(threads, problem.samples, GrainOf(problem));
    ForEachPart(parts, problem.samples, [&](int part, int64_t begin, int64_t end) {
      C* betas = static_cast<C*>(args.workspace) + part * problem.states();
      for (int64_t i = begin; i < end; ++i) BackwardOf<C>(problem, i, args, betas);
    });
  });
}

KernelOr MakeForward(const KernelSpec& spec) {
  return spec.inputs.at(0).dtype == DType::kF64 ? MakeForwardOf<double>(spec)
                                                : MakeForwardOf<float>(spec);
}
KernelOr MakeGrad(const KernelSpec& spec) {
  return spec.inputs.at(0).dtype == DType::kF64 ? MakeGradOf<double>(spec)
                                                : MakeGradOf<float>(spec);
}

}  // namespace

std::vector<KernelDef> CtcKernels() {
  return {{"ctc_loss", CheckForward, NeedsNothing, MakeForward},
          {"ctc_loss_grad", CheckGrad, DescribeGrad, MakeGrad}};
}

}  // namespace oneflow::kernels
