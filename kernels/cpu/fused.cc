// fused: a chain of elementwise ops (plan/fused.h) over tiles that stay in the nearest cache: each operand is read once
// and the result written once, whatever the number of ops. Bytes: those of the inputs and the output.
//
// A tile of the value is kept in f32; a step runs the loop of its op over it (the one that the op has by itself) and
// rounds to its element type, so that a chain has the bits of its ops one by one.
#include "plan/fused.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/cpu/batch_groups.h"
#include "kernels/cpu/batch_norm_apply.h"
#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/logical_indices.h"
#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kTile = 1024;  // elements

// An operand of a chain, tile by tile: as it lies there, or widened.
class Reader {
 public:
  Reader() = default;
  // `elements`: of the value; an operand of one element is repeated beside more.
  Reader(const Operand& operand, int input, int64_t elements)
      : input_(input),
        bytes_(SizeOf(operand.dtype)),
        repeated_(elements > 1 && NumElements(operand.shape) == 1),
        type_(NarrowOf(operand.dtype)) {}

  bool repeated() const { return repeated_; }
  // Elements [begin, begin + n), or the one there is. `space`: n floats.
  const float* Read(const KernelArgs& args, int64_t begin, int64_t n, float* space) const {
    const char* from = In<char>(args, input_) + (repeated_ ? 0 : begin * bytes_);
    if (!type_) return reinterpret_cast<const float*>(from);
    type_.widen(from, space, repeated_ ? 1 : n);
    return space;
  }

 private:
  int input_ = 0;
  int64_t bytes_ = 0;
  bool repeated_ = false;
  Narrow type_;
};

// bn_apply of elements that lie anywhere in the rows. Threads: any, behind Prepare.
class BatchNormStep {
 public:
  BatchNormStep(const KernelSpec& spec, int read)
      : read_(read),
        groups_(spec.inputs[0], spec.inputs.at(static_cast<size_t>(read))),
        c_(spec.inputs[0].shape.back()),
        loop_(LoopFor<ApplyLoop<float>, float>()) {}

  static int64_t WorkspaceBytes(const KernelSpec& spec, int read) {
    return NumElements(spec.inputs.at(static_cast<size_t>(read)).shape) *
           static_cast<int64_t>(sizeof(float));
  }
  // scale = rstd * weight, of every group.
  void Prepare(const KernelArgs& args) const {
    float* scale = static_cast<float*>(args.workspace);
    for (int64_t i = 0; i < groups_.count() * c_; ++i) {
      scale[i] = In<float>(args, read_ + 1)[i] * In<float>(args, read_ + 2)[i % c_];
    }
  }
  void Run(const KernelArgs& args, int64_t begin, int64_t n, float* value) const {
    for (int64_t group = 0; group < groups_.count(); ++group) {
      const BatchGroups::Rows rows = groups_.RowsOf(group, args.micro);
      int64_t at = std::max(begin, rows.begin * c_);
      const int64_t end = std::min(begin + n, rows.end * c_);
      while (at < end) {
        const int64_t j = at % c_;
        // A part of a row, or as many whole ones as there are.
        const bool whole = j == 0 && end - at >= c_;
        const int64_t width = whole ? c_ : std::min(c_ - j, end - at);
        const int64_t count = whole ? (end - at) / c_ : 1;
        float* there = value + (at - begin);
        loop_(there, there, In<float>(args, read_) + group * c_ + j,
              static_cast<const float*>(args.workspace) + group * c_ + j,
              In<float>(args, read_ + 3) + j, count, width);
        at += count * width;
      }
    }
  }

 private:
  int read_;
  BatchGroups groups_;
  int64_t c_;
  decltype(&ApplyLoop<float>::Run) loop_;
};

class DropoutStep {
 public:
  DropoutStep(const KernelSpec& spec, int read)
      : read_(read),
        mask_(DropoutMask::Of(spec.attrs)),
        indices_(spec.inputs[0]),
        loop_(Vectorised<DropoutLoop<float>>()) {}

  void Run(const KernelArgs& args, int64_t begin, int64_t n, float* value) const {
    if (mask_.drops_all()) {
      std::fill_n(value, n, 0.0f);
      return;
    }
    const uint64_t step = static_cast<uint64_t>(*In<int64_t>(args, read_));
    indices_.Runs(begin, begin + n, args.micro, [&](int64_t at, int64_t count, uint64_t first) {
      float* there = value + (at - begin);
      loop_(there, there, count, first, step, mask_);
    });
  }

 private:
  int read_;
  DropoutMask mask_;
  LogicalIndices indices_;
  decltype(&DropoutLoop<float>::Run) loop_;
};

// One step, ready to run.
struct TileStep {
  FusedStep what;
  UnaryRun unary = nullptr;
  BinaryRun binary = nullptr;
  Reader beside;
  Narrow rounding;  // to the step's type
};

BinaryRuns BinaryRunsOf(const FusedStep& step) {
  const BinaryRuns runs = FloatBinaryRuns(step.op);
  return runs.dense != nullptr ? runs : FloatGradientRuns(step.op);
}

class Chain {
 public:
  Chain(const KernelSpec& spec, const std::vector<FusedStep>& steps) {
    const int64_t elements = NumElements(spec.outputs.at(0).shape);
    first_ = Reader(spec.inputs[0], 0, elements);
    for (const FusedStep& step : steps) {
      TileStep tile{step, nullptr, nullptr, {}, NarrowOf(step.dtype)};
      if (step.role == FusedRole::kUnary) tile.unary = FloatUnaryRun(step.op);
      if (step.role == FusedRole::kBinary) {
        tile.beside = Reader(spec.inputs.at(static_cast<size_t>(step.read)), step.read, elements);
        const BinaryRuns runs = BinaryRunsOf(step);
        tile.binary = !tile.beside.repeated() ? runs.dense
                      : step.reversed         ? runs.repeat_a
                                              : runs.repeat_b;
      }
      if (step.role == FusedRole::kBatchNorm) batch_norm_.emplace(spec, step.read);
      if (step.role == FusedRole::kDropout) dropout_.emplace(spec, step.read);
      steps_[static_cast<size_t>(count_++)] = std::move(tile);
    }
    bytes_out_ = SizeOf(spec.outputs.at(0).dtype);
  }

  // Every step has its loop. CheckFused has refused what has none: an op's gradient beside one element.
  bool IsComplete() const {
    return std::all_of(steps_.begin(), steps_.begin() + count_, [](const TileStep& step) {
      return (step.what.role != FusedRole::kUnary || step.unary != nullptr) &&
             (step.what.role != FusedRole::kBinary || step.binary != nullptr);
    });
  }

  void Prepare(const KernelArgs& args) const {
    if (batch_norm_.has_value()) batch_norm_->Prepare(args);
  }

  // Elements [begin, begin + n) of the result; n <= kTile.
  void RunTile(const KernelArgs& args, int64_t begin, int64_t n) const {
    alignas(64) float value[kTile], space[kTile];
    alignas(64) uint16_t rounded[kTile];
    const float* first = first_.Read(args, begin, n, value);
    if (first != value) std::copy_n(first, n, value);
    char* out = Out<char>(args, 0) + begin * bytes_out_;
    for (int k = 0; k < count_; ++k) {
      const TileStep& step = steps_[static_cast<size_t>(k)];
      RunStep(step, args, begin, n, value, space);
      if (!step.rounding) continue;
      if (k + 1 == count_) {
        step.rounding.narrow(value, out, n);
        return;
      }
      step.rounding.narrow(value, rounded, n);
      step.rounding.widen(rounded, value, n);
    }
    std::copy_n(value, n, reinterpret_cast<float*>(out));
  }

 private:
  void RunStep(const TileStep& step, const KernelArgs& args, int64_t begin, int64_t n, float* value,
               float* space) const {
    switch (step.what.role) {
      case FusedRole::kUnary:
        step.unary(value, value, step.what.value, n);
        return;
      case FusedRole::kCast:
        return;  // the rounding
      case FusedRole::kBinary: {
        const float* beside = step.beside.Read(args, begin, n, space);
        if (step.what.reversed) {
          step.binary(beside, value, value, step.what.value, n);
        } else {
          step.binary(value, beside, value, step.what.value, n);
        }
        return;
      }
      case FusedRole::kDropout:
        dropout_->Run(args, begin, n, value);
        return;
      case FusedRole::kBatchNorm:
        batch_norm_->Run(args, begin, n, value);
        return;
    }
  }

  Reader first_;
  std::array<TileStep, kMaxFusedSteps> steps_;
  int count_ = 0;
  int64_t bytes_out_ = 0;
  std::optional<BatchNormStep> batch_norm_;
  std::optional<DropoutStep> dropout_;
};

void CheckBatchNorm(SpecCheck* check, const FusedStep& step) {
  const Operand& x = check->in(0);
  const auto read = static_cast<size_t>(step.read);
  const Operand& mean = check->in(read);
  check->Takes(mean, {DType::kF32}).Rank(x, 2, kMaxRank).Placed(x).Rank(mean, 2, 2).Placed(mean);
  check->Require(!check->ok() || mean.shape[1] == x.shape.back(), "statistics per channel of x");
  check->Same(check->in(read + 1), mean);
  for (const size_t channels : {read + 2, read + 3}) {
    if (!check->ok()) return;
    check->Takes(check->in(channels), {DType::kF32}).HasShape(check->in(channels), {mean.shape[1]});
  }
}

absl::Status CheckFused(const KernelSpec& spec) {
  const absl::StatusOr<std::vector<FusedStep>> steps = FusedSteps(spec.attrs);
  if (!steps.ok()) return steps.status();
  SpecCheck check(spec);
  check.Inputs(static_cast<size_t>(FusedInputs(*steps))).Outputs(1);
  const Operand& x = check.in(0);
  check.Takes(x, {DType::kF32, DType::kBF16, DType::kF16}).HasShape(check.out(0), x.shape);
  DType dtype = x.dtype;
  for (const FusedStep& step : *steps) {
    const Operand& beside = check.in(static_cast<size_t>(step.read));
    if (step.role == FusedRole::kBinary) {
      check.Takes(beside, {dtype});
      check.Require(beside.shape == x.shape ||
                        (NumElements(beside.shape) == 1 && !step.op.ends_with("_grad")),
                    "operands have the shape of the value, or one element");
    }
    if (step.role == FusedRole::kDropout) {
      check.Placed(x).Scalar(beside, DType::kI64);
      CheckDropoutAttrs(&check);
    }
    if (step.role == FusedRole::kBatchNorm) CheckBatchNorm(&check, step);
    check.Require(step.role == FusedRole::kCast || step.dtype == dtype,
                  "a step that is no cast keeps the element type");
    dtype = step.dtype;
  }
  return check.Require(check.out(0).dtype == dtype, "the result has the type of the last step")
      .status();
}

// The result may lie where the value or an operand of its type and shape does: a tile is read before it is written.
absl::StatusOr<Needs> DescribeFused(const KernelSpec& spec) {
  const std::vector<FusedStep> steps = FusedSteps(spec.attrs).value();
  const Operand& out = spec.outputs.at(0);
  Needs needs;
  if (spec.inputs[0].dtype == out.dtype) needs.aliases.push_back({0, 0});
  for (const FusedStep& step : steps) {
    if (step.role == FusedRole::kBatchNorm) {
      needs.workspace_bytes = BatchNormStep::WorkspaceBytes(spec, step.read);
    }
    if (step.role != FusedRole::kBinary) continue;
    const Operand& in = spec.inputs.at(static_cast<size_t>(step.read));
    if (in.dtype == out.dtype && in.shape == out.shape) needs.aliases.push_back({0, step.read});
  }
  return needs;
}

KernelOr MakeFused(const KernelSpec& spec) {
  const std::vector<FusedStep> steps = FusedSteps(spec.attrs).value();
  const Chain chain(spec, steps);
  OF_CHECK(chain.IsComplete()) << "a chain has a step without a loop";
  const int64_t n = NumElements(spec.outputs.at(0).shape);
  const int64_t grain = std::max<int64_t>(kTile, kGrain / static_cast<int64_t>(steps.size()));
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    chain.Prepare(args);
    ParallelFor(threads, n, grain, [&](int64_t begin, int64_t end) {
      for (int64_t at = begin; at < end; at += kTile) {
        chain.RunTile(args, at, std::min(kTile, end - at));
      }
    });
  });
}

}  // namespace

std::vector<KernelDef> FusedKernels() { return {{"fused", CheckFused, DescribeFused, MakeFused}}; }

}  // namespace oneflow::kernels
