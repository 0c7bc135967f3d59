// Batch norm over x [n, .., c], channels last, statistics per group of samples and channel.
//
//   bn_sum          sum x                                                  -> [G, c]
//   bn_sq_sum       sum (x - mean)^2                                       -> [G, c]
//   bn_sample_sums  of each sample: sum x , sum (x - the sample's mean)^2  -> [n, c]
//   bn_join_squares sum (squares + (sum / count - mean)^2 * count) over samples: bn_sq_sum from these
//   bn_apply        y = (x - mean) * rstd * weight + bias
//   bn_grad_sums    sum dy , sum dy * xhat with xhat = (x - mean) * rstd   -> [G, c]
//   bn_grad_input   dx = weight * rstd * (dy - sum_dy / count - xhat * sum_dy_xhat / count)
//   running_update  running = (1 - momentum) * running + momentum * stats[s], for each s in order
//
// x, dy, y and dx are of any float type T; all else, and what is computed, is of its compute type C:
// double for double, float for the others. A loop converts each element where it reads and writes it.
//
// The G groups are consecutive equal shares of the *logical* batch: a sample's group follows from
// where the shard begins, so a local batch may hold several groups, or a part of one. Sums add
// blocks of kBlock rows in C and blocks in f64. Each op reads each of its operands once: bound by
// memory bandwidth.
#include <algorithm>
#include <cstdint>

#include "kernels/cpu/batch_groups.h"
#include "kernels/cpu/batch_norm_apply.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"

namespace oneflow::kernels {
namespace {

constexpr int64_t kBlock = 128;
constexpr int64_t kNarrow = 64;  // channels below which several rows are added as one long row ..
constexpr int64_t kWide = 128;   // .. of about so many numbers

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
  check.Inputs(inputs).Outputs(outputs);
  const Operand& x = check.in(0);
  const Operand& stats = stats_are_output ? check.out(stats_index) : check.in(stats_index);
  check.Takes(x, {DType::kF32, DType::kF64, DType::kBF16, DType::kF16});
  check.Takes(stats, {StatsType(x.dtype)});
  check.Rank(x, 2, kMaxRank).Placed(x).Rank(stats, 2, 2).Placed(stats);
  check.Require(!check.ok() || stats.shape[1] == x.shape.back(), "statistics per channel of x");
  return check;
}

// Weight or bias, given `stats`.
void CheckChannels(SpecCheck* check, const Operand& operand, const Operand& stats) {
  if (!check->ok()) return;
  check->Takes(operand, {stats.dtype}).HasShape(operand, {stats.shape[1]});
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
  for (const size_t channels : {3, 4}) CheckChannels(&check, check.in(channels), check.in(1));
  return check.status();
}

absl::Status CheckGradInput(const KernelSpec& spec) {
  SpecCheck check = CheckGroups(spec, 7, 1, /*stats_are_output=*/false, 2);
  check.Same(check.in(1), check.in(0)).Same(check.out(0), check.in(0));
  for (const size_t stats : {3, 5, 6}) check.Same(check.in(stats), check.in(2));
  check.Require(check.Number("count") > 0, "the count of a group is positive");
  CheckChannels(&check, check.in(4), check.in(2));
  return check.status();
}

absl::Status CheckRunningUpdate(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(2).Outputs(1).SameDType().Same(check.out(0), check.in(0));
  check.Takes(check.in(0), {DType::kF32, DType::kF64});
  check.Rank(check.in(0), 1, 1).Rank(check.in(1), 2, 2).Number("momentum");
  return check
      .Require(!check.ok() || check.in(1).shape[1] == check.in(0).shape[0],
               "statistics per channel")
      .status();
}

// Sums over rows: each loop adds `rows` rows to its blocks of c numbers (the second behind the
// first).
template <typename T>
struct SumLoop {
  using C = Compute<T>;
  static constexpr int kSums = 1;
  OF_LOOP static void Run(const T* x, const T*, const C*, int64_t rows, int64_t c, C* block) {
    for (int64_t row = 0; row < rows; ++row, x += c) {
#pragma omp simd
      for (int64_t j = 0; j < c; ++j) block[j] += static_cast<C>(x[j]);
    }
  }
};
template <typename T>
struct SquareSumLoop {
  using C = Compute<T>;
  static constexpr int kSums = 1;
  OF_LOOP static void Run(const T* x, const T*, const C* mean, int64_t rows, int64_t c, C* block) {
    for (int64_t row = 0; row < rows; ++row, x += c) {
#pragma omp simd
      for (int64_t j = 0; j < c; ++j) {
        const C centred = static_cast<C>(x[j]) - mean[j];
        block[j] += centred * centred;
      }
    }
  }
};
// The second sum lacks the factor rstd, which is the same for all rows.
template <typename T>
struct GradSumsLoop {
  using C = Compute<T>;
  static constexpr int kSums = 2;
  OF_LOOP static void Run(const T* x, const T* dy, const C* mean, int64_t rows, int64_t c,
                          C* block) {
    for (int64_t row = 0; row < rows; ++row, x += c, dy += c) {
#pragma omp simd
      for (int64_t j = 0; j < c; ++j) {
        const C slope = static_cast<C>(dy[j]);
        block[j] += slope;
        block[c + j] += slope * (static_cast<C>(x[j]) - mean[j]);
      }
    }
  }
};

// Sums of x - pivot, and of its square: four rows at a time, so that the blocks are not what is read and written most.
template <typename T>
struct SampleSumsLoop {
  using C = Compute<T>;
  OF_LOOP static void Run(const T* x, const C* pivot, int64_t rows, int64_t width, int64_t stride,
                          C* block) {
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4, x += 4 * stride) {
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) {
        const C a = static_cast<C>(x[j]) - pivot[j];
        const C b = static_cast<C>(x[stride + j]) - pivot[j];
        const C c = static_cast<C>(x[2 * stride + j]) - pivot[j];
        const C d = static_cast<C>(x[3 * stride + j]) - pivot[j];
        block[j] += (a + b) + (c + d);
        block[width + j] += (a * a + b * b) + (c * c + d * d);
      }
    }
    for (; row < rows; ++row, x += stride) {
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) {
        const C centred = static_cast<C>(x[j]) - pivot[j];
        block[j] += centred;
        block[width + j] += centred * centred;
      }
    }
  }
};

// How the rows are shared out, and each thread's space: totals in f64, blocks and the mean in C, both
// `fold` rows wide.
struct SumSpace {
  SumSpace(const KernelSpec& spec, int sums)
      : groups(spec.inputs[0], spec.outputs.at(0)),
        c(spec.inputs[0].shape.back()),
        fold(c > 0 && c <= kNarrow ? kWide / c : 1),
        parts(PartsOf(spec.threads, groups.rows() * c, kGrain)) {
    const int64_t wide = (sums + 1) * c * fold * SizeOf(StatsType(spec.inputs[0].dtype));
    const int64_t bytes = sums * c * static_cast<int64_t>(sizeof(double)) + wide;
    part_bytes = (bytes + 63) / 64 * 64;  // threads share no cache line
  }
  double* Total(const KernelArgs& args, int part) const {
    return reinterpret_cast<double*>(static_cast<char*>(args.workspace) + part * part_bytes);
  }

  BatchGroups groups;
  int64_t c;
  int64_t fold;
  int parts;
  int64_t part_bytes;
};

template <typename T, typename Loop>
std::unique_ptr<Kernel> MakeSums(const KernelSpec& spec, SumInputs inputs) {
  using C = Compute<T>;
  const SumSpace space(spec, Loop::kSums);
  const auto loop = LoopFor<Loop, C>();
  return KernelOf([=](const KernelArgs& args) {
    const int64_t c = space.c;
    const int64_t width = c * space.fold;
    for (int64_t group = 0; group < space.groups.count(); ++group) {
      const BatchGroups::Rows rows = space.groups.RowsOf(group, args.micro);
      ForEachPart(space.parts, rows.end - rows.begin, [&](int part, int64_t begin, int64_t end) {
        double* total = space.Total(args, part);
        C* block = reinterpret_cast<C*>(total + Loop::kSums * c);
        C* mean = block + Loop::kSums * width;
        std::fill_n(total, Loop::kSums * c, 0.0);
        for (int64_t row = 0; inputs.mean >= 0 && row < space.fold; ++row) {
          std::copy_n(In<C>(args, inputs.mean) + group * c, c, mean + row * c);
        }
        for (int64_t row = rows.begin + begin; row < rows.begin + end;) {
          const int64_t left = rows.begin + end - row;
          const int64_t together = left >= space.fold ? space.fold : 1;
          const int64_t count = std::min(kBlock, left / together);
          std::fill_n(block, Loop::kSums * width, C{0});
          loop(In<T>(args, 0) + row * c,
               inputs.dy >= 0 ? In<T>(args, inputs.dy) + row * c : nullptr, mean, count,
               c * together, block);
          row += count * together;
          for (int64_t sum = 0; sum < Loop::kSums; ++sum) {
            for (int64_t t = 0; t < together; ++t) {
              for (int64_t j = 0; j < c; ++j) {
                total[sum * c + j] += block[(sum * together + t) * c + j];
              }
            }
          }
        }
      });
      for (int sum = 0; sum < Loop::kSums; ++sum) {
        C* out = Out<C>(args, sum) + group * c;
        const C* rstd =
            sum == 1 && inputs.rstd >= 0 ? In<C>(args, inputs.rstd) + group * c : nullptr;
        for (int64_t j = 0; j < c; ++j) {
          double total = space.Total(args, 0)[sum * c + j];
          for (int part = 1; part < space.parts; ++part) {
            total += space.Total(args, part)[sum * c + j];
          }
          out[j] = static_cast<C>(rstd == nullptr ? total : total * rstd[j]);
        }
      }
    }
  });
}

template <template <typename> typename Loop>
KernelDef SumsOp(const char* op, SumInputs inputs) {
  return {op, [inputs](const KernelSpec& spec) { return CheckSums(spec, inputs); },
          [](const KernelSpec& spec) -> absl::StatusOr<Needs> {
            const SumSpace space(spec, Loop<float>::kSums);
            return Needs{space.parts * space.part_bytes, {}};
          },
          [inputs](const KernelSpec& spec) {
            return DispatchFloats(
                spec, [&]<typename T>() -> KernelOr { return MakeSums<T, Loop<T>>(spec, inputs); });
          }};
}

// The rows of a sample, and how samples are shared out: where there are fewer than threads, their channels too.
struct SampleSpace {
  explicit SampleSpace(const KernelSpec& spec)
      : samples(spec.inputs[0].shape.front()),
        c(spec.inputs[0].shape.back()),
        fold(c > 0 && c <= kNarrow ? kWide / c : 1) {
    const Shape& shape = spec.inputs[0].shape;
    for (size_t d = 1; d + 1 < shape.size(); ++d) rows *= shape[d];
    if (samples < spec.threads) {
      pieces = std::clamp<int64_t>(c / kNarrow, 1, spec.threads / std::max<int64_t>(1, samples));
    }
    parts = PartsOf(spec.threads, samples * rows * c, kGrain);
    const int64_t width = (c + pieces - 1) / pieces * fold;
    const int64_t bytes = 2 * width * static_cast<int64_t>(sizeof(double)) +
                          3 * width * SizeOf(StatsType(spec.inputs[0].dtype));
    part_bytes = (bytes + 63) / 64 * 64;  // threads share no cache line
  }
  int64_t samples, c, fold;
  int64_t rows = 1;
  int64_t pieces = 1;
  int parts = 1;
  int64_t part_bytes = 0;
};

// One pass: sums of x - pivot, the pivot one of the sample's own numbers, so that their squares lose no more to
// the mean than the numbers' distance from each other (decisions/0022).
template <typename T>
std::unique_ptr<Kernel> MakeSampleSums(const KernelSpec& spec) {
  using C = Compute<T>;
  const SampleSpace space(spec);
  const auto loop = LoopFor<SampleSumsLoop<T>, C>();
  return KernelOf([=](const KernelArgs& args) {
    const int64_t rows = space.rows;
    ForEachPart(
        space.parts, space.samples * space.pieces, [&](int part, int64_t begin, int64_t end) {
          for (int64_t piece = begin; piece < end; ++piece) {
            const int64_t sample = piece / space.pieces;
            const int at = static_cast<int>(piece % space.pieces);
            const int64_t first = PartBegin(space.c, static_cast<int>(space.pieces), at);
            const int64_t c = PartBegin(space.c, static_cast<int>(space.pieces), at + 1) - first;
            const int64_t width = c * space.fold;
            double* total = reinterpret_cast<double*>(static_cast<char*>(args.workspace) +
                                                      part * space.part_bytes);
            C* block = reinterpret_cast<C*>(total + 2 * width);
            C* pivot = block + 2 * width;
            const T* x = In<T>(args, 0) + sample * rows * space.c + first;
            std::fill_n(total, 2 * width, 0.0);
            for (int64_t t = 0; t < space.fold; ++t) {
              for (int64_t j = 0; j < c; ++j) {
                pivot[t * c + j] = rows > 0 ? static_cast<C>(x[j]) : C{0};
              }
            }
            for (int64_t row = 0; row < rows;) {
              const int64_t together = rows - row >= space.fold ? space.fold : 1;
              const int64_t count = std::min(kBlock, (rows - row) / together);
              std::fill_n(block, 2 * width, C{0});
              loop(x + row * space.c, pivot, count, c * together, space.c * together, block);
              row += count * together;
              for (int64_t sum = 0; sum < 2; ++sum) {
                for (int64_t t = 0; t < together; ++t) {
                  for (int64_t j = 0; j < c; ++j) {
                    total[sum * c + j] += block[(sum * together + t) * c + j];
                  }
                }
              }
            }
            const int64_t out = sample * space.c + first;
            for (int64_t j = 0; j < c; ++j) {
              const double sum = total[j];
              const double squares = rows > 0 ? total[c + j] - sum * sum / rows : 0;
              Out<C>(args, 0)[out + j] = static_cast<C>(sum + static_cast<double>(pivot[j]) * rows);
              Out<C>(args, 1)[out + j] = static_cast<C>(squares < 0 ? 0 : squares);
            }
          }
        });
  });
}

absl::Status CheckSampleSums(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Inputs(1).Outputs(2);
  const Operand& x = check.in(0);
  check.Takes(x, {DType::kF32, DType::kF64, DType::kBF16, DType::kF16}).Rank(x, 2, kMaxRank);
  check.Same(check.out(1), check.out(0)).Takes(check.out(0), {StatsType(x.dtype)});
  if (check.ok()) check.HasShape(check.out(0), {x.shape.front(), x.shape.back()});
  return check.status();
}

absl::Status CheckJoinSquares(const KernelSpec& spec) {
  SpecCheck check = CheckGroups(spec, 3, 1, /*stats_are_output=*/true);
  check.Takes(check.in(0), {DType::kF32, DType::kF64}).Rank(check.in(0), 2, 2);
  check.Same(check.in(1), check.in(0)).Same(check.in(2), check.out(0));
  return check.Require(check.Number("count") > 0, "a sample has elements").status();
}

template <typename C>
std::unique_ptr<Kernel> MakeJoinSquares(const KernelSpec& spec) {
  const BatchGroups groups(spec.inputs[0], spec.outputs.at(0));
  const int64_t c = spec.inputs[0].shape.back();
  const double count = NumberAttr(spec.attrs, "count");
  return KernelOf([=](const KernelArgs& args) {
    double* total = static_cast<double*>(args.workspace);
    for (int64_t group = 0; group < groups.count(); ++group) {
      const BatchGroups::Rows rows = groups.RowsOf(group, args.micro);
      const C* mean = In<C>(args, 2) + group * c;
      std::fill_n(total, c, 0.0);
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        const C* sums = In<C>(args, 0) + row * c;
        const C* squares = In<C>(args, 1) + row * c;
        for (int64_t j = 0; j < c; ++j) {
          const double apart = sums[j] / count - mean[j];
          total[j] += squares[j] + apart * apart * count;
        }
      }
      for (int64_t j = 0; j < c; ++j) Out<C>(args, 0)[group * c + j] = static_cast<C>(total[j]);
    }
  });
}

template <typename T>
struct GradInputLoop {
  using C = Compute<T>;
  OF_LOOP static void Run(const T* x, const T* dy, T* dx, const C* mean, const C* factors,
                          int64_t rows, int64_t c) {
    const C* scale = factors;
    const C* shift = factors + c;
    const C* slope = factors + 2 * c;
    for (int64_t row = 0; row < rows; ++row, x += c, dy += c, dx += c) {
#pragma omp simd
      for (int64_t j = 0; j < c; ++j) {
        const C centred = static_cast<C>(x[j]) - mean[j];
        Store(scale[j] * (static_cast<C>(dy[j]) - shift[j] - centred * slope[j]), dx + j);
      }
    }
  }
};

// body(begin, end) for the rows of a group, by the team.
template <typename Body>
void ForRows(const BatchGroups& groups, int64_t group, const KernelArgs& args, int threads,
             int64_t c, const Body& body) {
  const BatchGroups::Rows rows = groups.RowsOf(group, args.micro);
  ParallelFor(threads, rows.end - rows.begin, kGrain / std::max<int64_t>(1, c) + 1,
              [&](int64_t begin, int64_t end) { body(rows.begin + begin, rows.begin + end); });
}

// `factors` rows of c numbers of the compute type; dx or y may lie where an operand does.
absl::StatusOr<Needs> DescribeRows(const KernelSpec& spec, int factors, int operands) {
  Needs needs{factors * spec.inputs[0].shape.back() * SizeOf(StatsType(spec.inputs[0].dtype)), {}};
  for (int i = 0; i < operands; ++i) needs.aliases.push_back({0, i});
  return needs;
}

template <typename T>
KernelOr MakeApply(const KernelSpec& spec) {
  using C = Compute<T>;
  const BatchGroups groups(spec.inputs[0], spec.inputs.at(1));
  const int64_t c = spec.inputs[0].shape.back();
  const auto loop = LoopFor<ApplyLoop<T>, C>();
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    C* scale = static_cast<C*>(args.workspace);
    for (int64_t group = 0; group < groups.count(); ++group) {
      const C* mean = In<C>(args, 1) + group * c;
      const C* rstd = In<C>(args, 2) + group * c;
      for (int64_t j = 0; j < c; ++j) scale[j] = rstd[j] * In<C>(args, 3)[j];
      ForRows(groups, group, args, threads, c, [&](int64_t begin, int64_t end) {
        loop(In<T>(args, 0) + begin * c, Out<T>(args, 0) + begin * c, mean, scale, In<C>(args, 4),
             end - begin, c);
      });
    }
  });
}

template <typename T>
KernelOr MakeGradInput(const KernelSpec& spec) {
  using C = Compute<T>;
  const BatchGroups groups(spec.inputs[0], spec.inputs.at(2));
  const int64_t c = spec.inputs[0].shape.back();
  const double per_count = 1.0 / NumberAttr(spec.attrs, "count");
  const auto loop = LoopFor<GradInputLoop<T>, C>();
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    C* factors = static_cast<C*>(args.workspace);
    for (int64_t group = 0; group < groups.count(); ++group) {
      const C* rstd = In<C>(args, 3) + group * c;
      for (int64_t j = 0; j < c; ++j) {
        factors[j] = In<C>(args, 4)[j] * rstd[j];
        factors[c + j] = static_cast<C>(In<C>(args, 5)[group * c + j] * per_count);
        factors[2 * c + j] = static_cast<C>(rstd[j] * per_count * In<C>(args, 6)[group * c + j]);
      }
      ForRows(groups, group, args, threads, c, [&](int64_t begin, int64_t end) {
        loop(In<T>(args, 0) + begin * c, In<T>(args, 1) + begin * c, Out<T>(args, 0) + begin * c,
             In<C>(args, 2) + group * c, factors, end - begin, c);
      });
    }
  });
}

template <typename T>
std::unique_ptr<Kernel> MakeRunningUpdate(const KernelSpec& spec) {
  const int64_t c = spec.inputs[0].shape.at(0);
  const int64_t steps = spec.inputs.at(1).shape.at(0);
  const double momentum = NumberAttr(spec.attrs, "momentum");
  const T keep = static_cast<T>(1 - momentum);
  const T take = static_cast<T>(momentum);
  return KernelOf([=](const KernelArgs& args) {
    const T* running = In<T>(args, 0);
    const T* stats = In<T>(args, 1);
    T* out = Out<T>(args, 0);
    for (int64_t j = 0; j < c; ++j) {
      T value = running[j];
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
      {"bn_sample_sums", CheckSampleSums,
       [](const KernelSpec& spec) -> absl::StatusOr<Needs> {
         const SampleSpace space(spec);
         return Needs{space.parts * space.part_bytes, {}};
       },
       [](const KernelSpec& spec) {
         return DispatchFloats(spec,
                               [&]<typename T>() -> KernelOr { return MakeSampleSums<T>(spec); });
       }},
      {"bn_join_squares", CheckJoinSquares,
       [](const KernelSpec& spec) -> absl::StatusOr<Needs> {
         return Needs{spec.inputs[0].shape.back() * static_cast<int64_t>(sizeof(double)), {}};
       },
       [](const KernelSpec& spec) -> KernelOr {
         return spec.inputs[0].dtype == DType::kF64 ? MakeJoinSquares<double>(spec)
                                                    : MakeJoinSquares<float>(spec);
       }},
      {"bn_apply", CheckApply, [](const KernelSpec& spec) { return DescribeRows(spec, 1, 1); },
       [](const KernelSpec& spec) {
         return DispatchFloats(spec, [&]<typename T>() -> KernelOr { return MakeApply<T>(spec); });
       }},
      {"bn_grad_input", CheckGradInput,
       [](const KernelSpec& spec) { return DescribeRows(spec, 3, 2); },
       [](const KernelSpec& spec) {
         return DispatchFloats(spec,
                               [&]<typename T>() -> KernelOr { return MakeGradInput<T>(spec); });
       }},
      {"running_update", CheckRunningUpdate, Elementwise,
       [](const KernelSpec& spec) -> KernelOr {
         return spec.inputs[0].dtype == DType::kF64 ? MakeRunningUpdate<double>(spec)
                                                    : MakeRunningUpdate<float>(spec);
       }},
  };
}

}  // namespace oneflow::kernels
