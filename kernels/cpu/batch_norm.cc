// Batch norm over x [n, .., c], channels last, statistics per group of samples and channel.
//
//   bn_sum        sum x                          bn_sq_sum  sum (x - mean)^2                    ->
//   [G, c] bn_apply      y = (x - mean) * rstd * weight + bias bn_grad_sums  sum dy , sum dy * xhat
//   with xhat = (x - mean) * rstd                  -> [G, c] bn_grad_input dx = weight * rstd * (dy
//   - sum_dy / count - xhat * sum_dy_xhat / count) running_update  running = (1 - momentum) *
//   running + momentum * stats[s], for each s in order
//
// The G groups are consecutive equal shares of the *logical* batch: a sample's group follows from
// where the shard begins, so a local batch may hold several groups, or a part of one. Sums add
// blocks of kBlock rows in f32 and blocks in f64. Each op reads each of its operands once: bound by
// memory bandwidth.
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kBlock = 128;
constexpr int64_t kNarrow = 64;  // channels below which several rows are added as one long row ..
constexpr int64_t kWide = 128;   // .. of about so many floats

// Rows of x (one per sample and place in the image) that belong to each local group.
class Groups {
 public:
  Groups(const Operand& x, const Operand& stats)
      : local_(stats.shape.at(0)),
        logical_(std::max<int64_t>(1, stats.logical_shape.at(0))),
        first_group_(stats.begin.at(0)),
        group_stride_(stats.micro_dim == 0 ? stats.micro_stride : 0),
        samples_(x.shape.at(0)),
        logical_samples_(x.logical_shape.at(0)),
        first_sample_(x.begin.at(0)),
        sample_stride_(x.micro_dim == 0 ? x.micro_stride : 0) {
    for (size_t d = 1; d + 1 < x.shape.size(); ++d) rows_per_sample_ *= x.shape[d];
  }

  int64_t count() const { return local_; }
  int64_t rows() const { return samples_ * rows_per_sample_; }
  struct Rows {
    int64_t begin = 0;
    int64_t end = 0;
  };
  Rows RowsOf(int64_t group, uint32_t micro) const {
    const int64_t logical = first_group_ + group_stride_ * micro + group;
    const int64_t first = first_sample_ + sample_stride_ * micro;
    const auto local = [&](int64_t sample) {
      return std::clamp<int64_t>(sample - first, 0, samples_) * rows_per_sample_;
    };
    return {local(GroupBegin(logical)), local(GroupBegin(logical + 1))};
  }

 private:
  int64_t GroupBegin(int64_t group) const {
    return logical_samples_ / logical_ * group + std::min(group, logical_samples_ % logical_);
  }

  int64_t local_;
  int64_t logical_;
  int64_t first_group_;
  int64_t group_stride_;
  int64_t samples_;
  int64_t logical_samples_;
  int64_t first_sample_;
  int64_t sample_stride_;
  int64_t rows_per_sample_ = 1;
};

// Which inputs a sum reads beside x (input 0); -1: none.
struct SumInputs {
  int dy = -1;
  int mean = -1;
  int rstd = -1;
};

// x [n, .., c] is input 0; `stats` [G, c] says which groups of the batch it covers.
SpecCheck CheckGroups(const KernelSpec& spec, size_t inputs, size_t outputs, bool stats_are_output,
                      size_t stats_index = 0) {
  SpecCheck check(spec);
  check.Inputs(inputs).Outputs(outputs).AllF32();
  const Operand& x = check.in(0);
  const Operand& stats = stats_are_output ? check.out(stats_index) : check.in(stats_index);
  check.Rank(x, 2, kMaxRank).Placed(x).Rank(stats, 2, 2).Placed(stats);
  check.Require(!check.ok() || stats.shape[1] == x.shape.back(), "statistics per channel of x");
  return check;
}

absl::Status CheckSums(const KernelSpec& spec, SumInputs inputs) {
  const size_t count = 1 + static_cast<size_t>(std::max({inputs.dy, inputs.mean, inputs.rstd, 0}));
  const size_t outputs = inputs.dy >= 0 ? 2 : 1;
  SpecCheck check = CheckGroups(spec, count, outputs, /*stats_are_output=*/true);
  if (inputs.dy >= 0) check.Same(check.in(static_cast<size_t>(inputs.dy)), check.in(0));
  for (const int stats : {inputs.mean, inputs.rstd}) {
    if (stats >= 0) check.Same(check.in(static_cast<size_t>(stats)), check.out(0));
  }
  if (outputs == 2) check.Same(check.out(1), check.out(0));
  return check.status();
}

absl::Status CheckApply(const KernelSpec& spec) {
  SpecCheck check = CheckGroups(spec, 5, 1, /*stats_are_output=*/false, 1);
  check.Same(check.out(0), check.in(0)).Same(check.in(2), check.in(1));
  if (!check.ok()) return check.status();
  const Shape channels = {spec.inputs[0].shape.back()};
  return check.HasShape(check.in(3), channels).HasShape(check.in(4), channels).status();
}

absl::Status CheckGradInput(const KernelSpec& spec) {
  SpecCheck check = CheckGroups(spec, 7, 1, /*stats_are_output=*/false, 2);
  check.Same(check.in(1), check.in(0)).Same(check.out(0), check.in(0));
  for (const size_t stats : {3, 5, 6}) check.Same(check.in(stats), check.in(2));
  check.Require(check.Number("count") > 0, "the count of a group is positive");
  if (!check.ok()) return check.status();
  return check.HasShape(check.in(4), {spec.inputs[0].shape.back()}).status();
}

absl::Status CheckRunningUpdate(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1).AllF32().Same(check.out(0), check.in(0));
  check.Rank(check.in(0), 1, 1).Rank(check.in(1), 2, 2).Number("momentum");
  return check
      .Require(!check.ok() || check.in(1).shape[1] == check.in(0).shape[0],
               "statistics per channel")
      .status();
}

// Sums over rows: each loop adds `rows` rows to its blocks of c numbers (the second behind the
// first).
struct SumLoop {
  static constexpr int kSums = 1;
  OF_LOOP static void Run(const float* x, const float*, const float*, int64_t rows, int64_t c,
                          float* block) {
    for (int64_t row = 0; row < rows; ++row, x += c) {
#pragma omp simd
      for (int64_t j = 0; j < c; ++j) block[j] += x[j];
    }
  }
};
struct SquareSumLoop {
  static constexpr int kSums = 1;
  OF_LOOP static void Run(const float* x, const float*, const float* mean, int64_t rows, int64_t c,
                          float* block) {
    for (int64_t row = 0; row < rows; ++row, x += c) {
#pragma omp simd
      for (int64_t j = 0; j < c; ++j) {
        const float centred = x[j] - mean[j];
        block[j] += centred * centred;
      }
    }
  }
};
// The second sum lacks the factor rstd, which is the same for all rows.
struct GradSumsLoop {
  static constexpr int kSums = 2;
  OF_LOOP static void Run(const float* x, const float* dy, const float* mean, int64_t rows,
                          int64_t c, float* block) {
    for (int64_t row = 0; row < rows; ++row, x += c, dy += c) {
#pragma omp simd
      for (int64_t j = 0; j < c; ++j) {
        block[j] += dy[j];
        block[c + j] += dy[j] * (x[j] - mean[j]);
      }
    }
  }
};

template <typename Loop>
class RowSums final : public Kernel {
 public:
  RowSums(const KernelSpec& spec, SumInputs inputs)
      : groups_(spec.inputs[0], spec.outputs.at(0)),
        inputs_(inputs),
        c_(spec.inputs[0].shape.back()),
        fold_(c_ > 0 && c_ <= kNarrow ? kWide / c_ : 1),
        parts_(PartsOf(spec.threads, groups_.rows() * c_, kGrain)),
        loop_(Vectorised<Loop>()) {}

  // Per thread totals in f64, blocks in f32 and the mean, both `fold_` rows wide.
  int64_t workspace_bytes() const { return parts_ * PartBytes(); }

  absl::Status Run(const KernelArgs& args, Stream*) const override {
    Compute(args);
    return absl::OkStatus();
  }

  void Compute(const KernelArgs& args) const {
    const int64_t width = c_ * fold_;
    for (int64_t group = 0; group < groups_.count(); ++group) {
      const Groups::Rows rows = groups_.RowsOf(group, args.micro);
      ForEachPart(parts_, rows.end - rows.begin, [&](int part, int64_t begin, int64_t end) {
        double* total = Total(args, part);
        float* block = reinterpret_cast<float*>(total + Loop::kSums * c_);
        float* mean = block + Loop::kSums * width;
        std::fill_n(total, Loop::kSums * c_, 0.0);
        for (int64_t row = 0; inputs_.mean >= 0 && row < fold_; ++row) {
          std::copy_n(In<float>(args, inputs_.mean) + group * c_, c_, mean + row * c_);
        }
        for (int64_t row = rows.begin + begin; row < rows.begin + end;) {
          const int64_t left = rows.begin + end - row;
          const int64_t together = left >= fold_ ? fold_ : 1;
          const int64_t count = std::min(kBlock, left / together);
          std::fill_n(block, Loop::kSums * width, 0.0f);
          loop_(In<float>(args, 0) + row * c_,
                inputs_.dy >= 0 ? In<float>(args, inputs_.dy) + row * c_ : nullptr, mean, count,
                c_ * together, block);
          row += count * together;
          for (int64_t sum = 0; sum < Loop::kSums; ++sum) {
            for (int64_t t = 0; t < together; ++t) {
              for (int64_t j = 0; j < c_; ++j) {
                total[sum * c_ + j] += block[(sum * together + t) * c_ + j];
              }
            }
          }
        }
      });
      for (int sum = 0; sum < Loop::kSums; ++sum) {
        float* out = Out<float>(args, sum) + group * c_;
        const float* rstd =
            sum == 1 && inputs_.rstd >= 0 ? In<float>(args, inputs_.rstd) + group * c_ : nullptr;
        for (int64_t j = 0; j < c_; ++j) {
          double total = Total(args, 0)[sum * c_ + j];
          for (int part = 1; part < parts_; ++part) total += Total(args, part)[sum * c_ + j];
          out[j] = static_cast<float>(rstd == nullptr ? total : total * rstd[j]);
        }
      }
    }
  }

 private:
  int64_t PartBytes() const {
    const int64_t floats = (Loop::kSums + 1) * c_ * fold_;
    const int64_t bytes = Loop::kSums * c_ * static_cast<int64_t>(sizeof(double)) +
                          floats * static_cast<int64_t>(sizeof(float));
    return (bytes + 63) / 64 * 64;  // threads share no cache line
  }
  double* Total(const KernelArgs& args, int part) const {
    return reinterpret_cast<double*>(static_cast<char*>(args.workspace) + part * PartBytes());
  }

  Groups groups_;
  SumInputs inputs_;
  int64_t c_;
  int64_t fold_;
  int parts_;
  decltype(&Loop::Run) loop_;
};

template <typename Loop>
KernelDef SumsOp(const char* op, SumInputs inputs) {
  return {op, [inputs](const KernelSpec& spec) { return CheckSums(spec, inputs); },
          [inputs](const KernelSpec& spec) -> absl::StatusOr<Needs> {
            return Needs{RowSums<Loop>(spec, inputs).workspace_bytes(), {}};
          },
          [inputs](const KernelSpec& spec) -> KernelOr {
            return std::unique_ptr<Kernel>(std::make_unique<RowSums<Loop>>(spec, inputs));
          }};
}

struct ApplyLoop {
  OF_LOOP static void Run(const float* x, float* y, const float* mean, const float* scale,
                          const float* bias, int64_t rows, int64_t c) {
    for (int64_t row = 0; row < rows; ++row, x += c, y += c) {
#pragma omp simd
      for (int64_t j = 0; j < c; ++j) y[j] = (x[j] - mean[j]) * scale[j] + bias[j];
    }
  }
};
struct GradInputLoop {
  OF_LOOP static void Run(const float* x, const float* dy, float* dx, const float* mean,
                          const float* factors, int64_t rows, int64_t c) {
    const float* scale = factors;
    const float* shift = factors + c;
    const float* slope = factors + 2 * c;
    for (int64_t row = 0; row < rows; ++row, x += c, dy += c, dx += c) {
#pragma omp simd
      for (int64_t j = 0; j < c; ++j) {
        dx[j] = scale[j] * (dy[j] - shift[j] - (x[j] - mean[j]) * slope[j]);
      }
    }
  }
};

// body(begin, end) for the rows of a group, by the team.
template <typename Body>
void ForRows(const Groups& groups, int64_t group, const KernelArgs& args, int threads, int64_t c,
             const Body& body) {
  const Groups::Rows rows = groups.RowsOf(group, args.micro);
  ParallelFor(threads, rows.end - rows.begin, kGrain / std::max<int64_t>(1, c) + 1,
              [&](int64_t begin, int64_t end) { body(rows.begin + begin, rows.begin + end); });
}

absl::StatusOr<Needs> DescribeApply(const KernelSpec& spec) {
  return Needs{spec.inputs[0].shape.back() * static_cast<int64_t>(sizeof(float)), {{0, 0}}};
}

KernelOr MakeApply(const KernelSpec& spec) {
  const Groups groups(spec.inputs[0], spec.inputs.at(1));
  const int64_t c = spec.inputs[0].shape.back();
  const auto loop = Vectorised<ApplyLoop>();
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    float* scale = static_cast<float*>(args.workspace);
    for (int64_t group = 0; group < groups.count(); ++group) {
      const float* mean = In<float>(args, 1) + group * c;
      const float* rstd = In<float>(args, 2) + group * c;
      for (int64_t j = 0; j < c; ++j) scale[j] = rstd[j] * In<float>(args, 3)[j];
      ForRows(groups, group, args, threads, c, [&](int64_t begin, int64_t end) {
        loop(In<float>(args, 0) + begin * c, Out<float>(args, 0) + begin * c, mean, scale,
             In<float>(args, 4), end - begin, c);
      });
    }
  });
}

absl::StatusOr<Needs> DescribeGradInput(const KernelSpec& spec) {
  return Needs{3 * spec.inputs[0].shape.back() * static_cast<int64_t>(sizeof(float)),
               {{0, 0}, {0, 1}}};
}

KernelOr MakeGradInput(const KernelSpec& spec) {
  const Groups groups(spec.inputs[0], spec.inputs.at(2));
  const int64_t c = spec.inputs[0].shape.back();
  const double per_count = 1.0 / NumberAttr(spec.attrs, "count");
  const auto loop = Vectorised<GradInputLoop>();
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    float* factors = static_cast<float*>(args.workspace);
    for (int64_t group = 0; group < groups.count(); ++group) {
      const float* rstd = In<float>(args, 3) + group * c;
      for (int64_t j = 0; j < c; ++j) {
        factors[j] = In<float>(args, 4)[j] * rstd[j];
        factors[c + j] = static_cast<float>(In<float>(args, 5)[group * c + j] * per_count);
        factors[2 * c + j] =
            static_cast<float>(rstd[j] * per_count * In<float>(args, 6)[group * c + j]);
      }
      ForRows(groups, group, args, threads, c, [&](int64_t begin, int64_t end) {
        loop(In<float>(args, 0) + begin * c, In<float>(args, 1) + begin * c,
             Out<float>(args, 0) + begin * c, In<float>(args, 2) + group * c, factors, end - begin,
             c);
      });
    }
  });
}

KernelOr MakeRunningUpdate(const KernelSpec& spec) {
  const int64_t c = spec.inputs[0].shape.at(0);
  const int64_t steps = spec.inputs.at(1).shape.at(0);
  const double momentum = NumberAttr(spec.attrs, "momentum");
  const float keep = static_cast<float>(1 - momentum);
  const float take = static_cast<float>(momentum);
  return KernelOf([=](const KernelArgs& args) {
    const float* running = In<float>(args, 0);
    const float* stats = In<float>(args, 1);
    float* out = Out<float>(args, 0);
    for (int64_t j = 0; j < c; ++j) {
      float value = running[j];
      for (int64_t s = 0; s < steps; ++s) value = keep * value + take * stats[s * c + j];
      out[j] = value;
    }
  });
}

}  // namespace

std::vector<KernelDef> BatchNormKernels() {
  return {
      SumsOp<SumLoop>("bn_sum", {}),
      SumsOp<SquareSumLoop>("bn_sq_sum", {-1, 1, -1}),
      SumsOp<GradSumsLoop>("bn_grad_sums", {1, 2, 3}),
      {"bn_apply", CheckApply, DescribeApply, MakeApply},
      {"bn_grad_input", CheckGradInput, DescribeGradInput, MakeGradInput},
      {"running_update", CheckRunningUpdate, Elementwise, MakeRunningUpdate},
  };
}

}  // namespace oneflow::kernels
