// ctc_loss and its gradient against a sum over every way to write a sample's frames, in double.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/cpu/kernel_case.h"

namespace oneflow::kernels {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

// What a way says: repeats joined, then blanks left out.
std::vector<int64_t> LabelsOf(const std::vector<int64_t>& way, int64_t blank) {
  std::vector<int64_t> labels;
  for (size_t t = 0; t < way.size(); ++t) {
    if (way[t] != blank && (t == 0 || way[t] != way[t - 1])) labels.push_back(way[t]);
  }
  return labels;
}

struct Expected {
  double loss = 0;
  std::vector<double> shares;  // [frames, classes]
};

// Of all classes ^ frames ways, those that say `labels`. `log_probs`: [frames, classes].
Expected AllWays(const std::vector<double>& log_probs, int64_t frames, int64_t classes,
                 const std::vector<int64_t>& labels, int64_t blank) {
  Expected expected{0, std::vector<double>(frames * classes, 0)};
  double total = 0;
  std::vector<int64_t> way(frames, 0);
  while (true) {
    if (LabelsOf(way, blank) == labels) {
      double log = 0;
      for (int64_t t = 0; t < frames; ++t) log += log_probs[t * classes + way[t]];
      total += std::exp(log);
      for (int64_t t = 0; t < frames; ++t) expected.shares[t * classes + way[t]] += std::exp(log);
    }
    int64_t t = 0;
    while (t < frames && ++way[t] == classes) way[t++] = 0;
    if (t == frames) break;
  }
  for (double& share : expected.shares) share /= total;
  expected.loss = -std::log(total);
  return expected;
}

constexpr int64_t kFrames = 5, kSamples = 6, kClasses = 4, kLabels = 3;

struct Batch {
  std::vector<float> log_probs;  // normalised over classes
  std::vector<int64_t> targets, input_lengths, lengths;
  std::vector<float> dloss = {1, 0.5f, -2, 1, 0.25f, 3};
};

// Repeats that need a blank between, no label at all, a way too few frames for, lengths of all kinds.
Batch MakeBatch(int64_t blank) {
  Batch batch;
  const std::vector<float> logits = RandomFloats(kFrames * kSamples * kClasses, 7, -2, 2);
  for (size_t row = 0; row < logits.size(); row += kClasses) {
    double sum = 0;
    for (int64_t c = 0; c < kClasses; ++c) sum += std::exp(double{logits[row + c]});
    for (int64_t c = 0; c < kClasses; ++c)
      batch.log_probs.push_back(static_cast<float>(logits[row + c] - std::log(sum)));
  }
  const int64_t a = (blank + 1) % kClasses, b = (blank + 2) % kClasses, c = (blank + 3) % kClasses;
  batch.targets = {a, b, c, a, a, b, c, 99, -7, 5, 5, 5, a, a, a, b, a, b};
  batch.input_lengths = {5, 4, 1, 3, 4, 5};
  batch.lengths = {3, 3, 1, 0, 3, 3};  // sample 4 has 4 frames and needs 5
  return batch;
}

KernelCase Forward(const Batch& batch, int64_t blank, int threads) {
  return KernelCase("ctc_loss", {{"blank", blank}},
                    {TestTensor::Of<float>({kFrames, kSamples, kClasses}, batch.log_probs),
                     TestTensor::Of<int64_t>({kSamples, kLabels}, batch.targets),
                     TestTensor::Of<int64_t>({kSamples}, batch.input_lengths),
                     TestTensor::Of<int64_t>({kSamples}, batch.lengths)},
                    {TestTensor::Empty(DType::kF32, {kSamples}),
                     TestTensor::Empty(DType::kF32, {kSamples, kFrames, 2 * kLabels + 1})},
                    threads);
}

std::vector<float> Backward(const Batch& batch, int64_t blank, const std::vector<float>& loss,
                            const std::vector<float>& alphas, int threads) {
  return RunKernel(
      "ctc_loss_grad", {{"blank", blank}},
      {TestTensor::Of<float>({kFrames, kSamples, kClasses}, batch.log_probs),
       TestTensor::Of<int64_t>({kSamples, kLabels}, batch.targets),
       TestTensor::Of<int64_t>({kSamples}, batch.input_lengths),
       TestTensor::Of<int64_t>({kSamples}, batch.lengths),
       TestTensor::Of<float>({kSamples, kFrames, 2 * kLabels + 1}, alphas),
       TestTensor::Of<float>({kSamples}, loss), TestTensor::Of<float>({kSamples}, batch.dloss)},
      {kFrames, kSamples, kClasses}, threads);
}

TEST(CtcLoss, IsTheSumOverAllWays) {
  for (const int64_t blank : {0, 3}) {
    for (const int threads : {1, 2}) {
      const Batch batch = MakeBatch(blank);
      KernelCase forward = Forward(batch, blank, threads);
      forward.Run();
      const std::vector<float> loss = forward.Output<float>(0);
      const std::vector<float> gradient =
          Backward(batch, blank, loss, forward.Output<float>(1), threads);
      for (int64_t i = 0; i < kSamples; ++i) {
        const std::string what = "sample " + std::to_string(i) + " blank " + std::to_string(blank);
        const int64_t frames = batch.input_lengths[i];
        std::vector<double> log_probs;
        for (int64_t t = 0; t < frames; ++t) {
          for (int64_t c = 0; c < kClasses; ++c)
            log_probs.push_back(batch.log_probs[(t * kSamples + i) * kClasses + c]);
        }
        const auto first = batch.targets.begin() + i * kLabels;
        const Expected expected =
            AllWays(log_probs, frames, kClasses, {first, first + batch.lengths[i]}, blank);
        if (expected.loss == kInf) {
          EXPECT_EQ(i, 4) << what;
          EXPECT_EQ(loss[i], kInf) << what;
        } else {
          EXPECT_NEAR(loss[i], expected.loss, 2e-6 * (1 + expected.loss)) << what;
        }
        for (int64_t t = 0; t < kFrames; ++t) {
          for (int64_t c = 0; c < kClasses; ++c) {
            const float got = gradient[(t * kSamples + i) * kClasses + c];
            if (t >= frames) {
              EXPECT_EQ(got, 0) << what;
            } else if (expected.loss == kInf) {
              EXPECT_TRUE(std::isnan(got)) << what;
            } else {
              const double want = batch.dloss[i] * (std::exp(log_probs[t * kClasses + c]) -
                                                    expected.shares[t * kClasses + c]);
              EXPECT_NEAR(got, want, 3e-6) << what << " frame " << t << " class " << c;
            }
          }
        }
      }
    }
  }
}

// As zero_infinity asks: a sample without a way has neither loss nor gradient.
TEST(CtcLoss, GradientIsZeroWhereThatOfTheLossIs) {
  Batch batch = MakeBatch(0);
  KernelCase forward = Forward(batch, 0, 1);
  forward.Run();
  batch.dloss.assign(kSamples, 0);
  for (const float each :
       Backward(batch, 0, forward.Output<float>(0), forward.Output<float>(1), 1)) {
    EXPECT_EQ(each, 0);
  }
}

TEST(CtcLoss, LengthsAndLabelsOutOfRangeAreReported) {
  struct Wrong {
    std::vector<int64_t> Batch::*field;
    size_t at;
    int64_t value, bound;
  };
  for (const Wrong& wrong :
       {Wrong{&Batch::input_lengths, 1, kFrames + 1, kFrames},
        Wrong{&Batch::input_lengths, 1, -1, kFrames},
        Wrong{&Batch::lengths, 1, kLabels + 1, kLabels},
        Wrong{&Batch::lengths, 1, std::numeric_limits<int64_t>::min(), kLabels},
        Wrong{&Batch::targets, 4, kClasses, kClasses}, Wrong{&Batch::targets, 4, -1, kClasses}}) {
    Batch batch = MakeBatch(0);
    (batch.*wrong.field)[wrong.at] = wrong.value;
    KernelCase forward = Forward(batch, 0, 1);
    forward.Run();
    EXPECT_EQ(forward.block.error_value, wrong.value);
    EXPECT_EQ(forward.block.error_bound, wrong.bound);
    const std::vector<float> loss = forward.Output<float>(0);
    EXPECT_TRUE(std::isnan(loss[1]));
    EXPECT_FALSE(std::isnan(loss[0]));
    const std::vector<float> gradient = Backward(batch, 0, loss, forward.Output<float>(1), 1);
    EXPECT_TRUE(std::isnan(gradient[kClasses]));  // of sample 1
    EXPECT_FALSE(std::isnan(gradient[0]));
  }
}

// Long and certain: probabilities far below the smallest float.
TEST(CtcLoss, LongSamplesDoNotUnderflow) {
  constexpr int64_t kLong = 2000;
  KernelCase forward(
      "ctc_loss", {{"blank", int64_t{0}}},
      {TestTensor::Of<float>({kLong, 1, 2}, std::vector<float>(2 * kLong, -0.6931472f)),
       TestTensor::Of<int64_t>({1, 1}, {1}), TestTensor::Of<int64_t>({1}, {kLong}),
       TestTensor::Of<int64_t>({1}, {1})},
      {TestTensor::Empty(DType::kF32, {1}), TestTensor::Empty(DType::kF32, {1, kLong, 3})}, 1);
  forward.Run();
  // kLong (kLong + 1) / 2 runs of the label among 2 ^ kLong ways.
  const double expected = kLong * std::log(2.0) - std::log(kLong * (kLong + 1) / 2.0);
  EXPECT_NEAR(forward.Output<float>(0)[0], expected, 1e-5 * expected);
}

}  // namespace
}  // namespace oneflow::kernels
