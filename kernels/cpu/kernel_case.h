// KernelCase: runs one CPU kernel in a test, on buffers with guard bytes behind them.
//
// Test code only; header-only. Threads: one test at a time. Fails the test (gtest) if a kernel
// writes behind an output or its workspace, or changes an input that is not its output.
// Read next: kernels/kernel.h.
#ifndef ONEFLOW_KERNELS_CPU_KERNEL_CASE_H_
#define ONEFLOW_KERNELS_CPU_KERNEL_CASE_H_

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/status.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/scalar_types.h"

namespace oneflow::kernels {

template <typename T>
DType DTypeOf() {
  if (std::is_same_v<T, float>) return DType::kF32;
  if (std::is_same_v<T, double>) return DType::kF64;
  if (std::is_same_v<T, BF16>) return DType::kBF16;
  if (std::is_same_v<T, F16>) return DType::kF16;
  if (std::is_same_v<T, int64_t>) return DType::kI64;
  if (std::is_same_v<T, int32_t>) return DType::kI32;
  if (std::is_same_v<T, int16_t>) return DType::kI16;
  if (std::is_same_v<T, int8_t>) return DType::kI8;
  if (std::is_same_v<T, uint8_t>) return DType::kU8;
  return DType::kBool;
}

// A 64-byte aligned block with guard bytes behind it.
class GuardedBytes {
 public:
  explicit GuardedBytes(int64_t bytes) : bytes_(bytes) {
    const int64_t total = (bytes + kGuard + 63) / 64 * 64;
    block_.reset(static_cast<unsigned char*>(std::aligned_alloc(64, total)));
    std::memset(block_.get(), 0xCD, total);
  }
  void* data() const { return block_.get(); }
  bool Intact() const {
    for (int64_t i = 0; i < kGuard; ++i) {
      if (block_.get()[bytes_ + i] != 0xCD) return false;
    }
    return true;
  }

 private:
  static constexpr int64_t kGuard = 128;
  struct Free {
    void operator()(unsigned char* p) const { std::free(p); }
  };
  int64_t bytes_;
  std::unique_ptr<unsigned char, Free> block_;
};

// A tensor of a test: shape and values.
struct TestTensor {
  Operand type;
  std::shared_ptr<GuardedBytes> bytes;

  template <typename T>
  static TestTensor Of(const Shape& shape, const std::vector<T>& values) {
    TestTensor tensor = Empty(DTypeOf<T>(), shape);
    EXPECT_EQ(static_cast<int64_t>(values.size()), NumElements(shape));
    if (!values.empty()) {
      std::memcpy(tensor.bytes->data(), values.data(), values.size() * sizeof(T));
    }
    return tensor;
  }
  static TestTensor Empty(DType dtype, const Shape& shape) {
    Operand type;
    type.dtype = dtype;
    type.shape = type.logical_shape = shape;
    type.begin = Shape(shape.size(), 0);
    return {type, std::make_shared<GuardedBytes>(NumElements(shape) * SizeOf(dtype))};
  }
  template <typename T>
  std::vector<T> Values() const {
    std::vector<T> values(NumElements(type.shape));
    if (!values.empty()) std::memcpy(values.data(), bytes->data(), values.size() * sizeof(T));
    return values;
  }
};

// Values from a fixed seed in [low, high).
inline std::vector<float> RandomFloats(int64_t n, uint32_t seed, float low = -2, float high = 2) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> distribution(low, high);
  std::vector<float> values(n);
  for (float& value : values) value = distribution(generator);
  return values;
}
inline TestTensor RandomTensor(const Shape& shape, uint32_t seed, float low = -2, float high = 2) {
  return TestTensor::Of<float>(shape, RandomFloats(NumElements(shape), seed, low, high));
}

// One kernel call. `outputs` gives the types; the same object may be run several times.
class KernelCase {
 public:
  KernelCase(std::string op, Attrs attrs, std::vector<TestTensor> inputs,
             std::vector<TestTensor> outputs, int threads = 1)
      : inputs_(std::move(inputs)), outputs_(std::move(outputs)) {
    spec_.op = std::move(op);
    spec_.attrs = std::move(attrs);
    spec_.threads = threads;
    for (const TestTensor& input : inputs_) spec_.inputs.push_back(input.type);
    for (const TestTensor& output : outputs_) spec_.outputs.push_back(output.type);
  }

  KernelSpec& spec() { return spec_; }
  const Needs& needs() const { return needs_; }

  // Describe and make; false (with the error in `status`) if refused.
  bool Make() {
    absl::StatusOr<Needs> needs = CpuKernels().Describe(spec_);
    status = needs.status();
    if (!status.ok()) return false;
    needs_ = *needs;
    absl::StatusOr<std::unique_ptr<Kernel>> kernel = CpuKernels().Make(spec_);
    status = kernel.status();
    if (!status.ok()) return false;
    kernel_ = std::move(*kernel);
    workspace_ = std::make_unique<GuardedBytes>(needs_.workspace_bytes);
    return true;
  }

  void Run(uint32_t micro = 0, uint32_t chunk = 0) {
    if (kernel_ == nullptr) {
      ASSERT_TRUE(Make()) << MessageOf(status);
    }
    std::vector<const void*> in;
    std::vector<void*> out;
    std::vector<std::vector<char>> before;
    for (const TestTensor& input : inputs_) {
      in.push_back(input.bytes->data());
      const char* first = static_cast<const char*>(input.bytes->data());
      before.emplace_back(first, first + NumElements(input.type.shape) * SizeOf(input.type.dtype));
    }
    for (const TestTensor& output : outputs_) out.push_back(output.bytes->data());
    block.Begin(0);
    KernelArgs args{in.data(), out.data(), workspace_->data(), &block, 0, micro, chunk};
    InlineStream stream;
    status = kernel_->Run(args, &stream);
    EXPECT_TRUE(status.ok() || may_refuse) << MessageOf(status);
    EXPECT_TRUE(workspace_->Intact()) << spec_.Key() << " wrote behind its workspace";
    for (const TestTensor& output : outputs_) {
      EXPECT_TRUE(output.bytes->Intact()) << spec_.Key() << " wrote behind an output";
    }
    for (size_t i = 0; i < inputs_.size(); ++i) {
      bool is_output = false;
      for (void* p : out) is_output |= p == in[i];
      if (is_output || before[i].empty()) continue;
      EXPECT_EQ(std::memcmp(before[i].data(), in[i], before[i].size()), 0)
          << spec_.Key() << " changed its input " << i;
    }
  }

  template <typename T>
  std::vector<T> Output(int i = 0) const {
    return outputs_[i].Values<T>();
  }

  absl::Status status;
  bool may_refuse = false;  // Run: a micro-batch that the spec does not know of
  StepBlock block;          // of the last run

 private:
  KernelSpec spec_;
  std::vector<TestTensor> inputs_;
  std::vector<TestTensor> outputs_;
  Needs needs_;
  std::unique_ptr<Kernel> kernel_;
  std::unique_ptr<GuardedBytes> workspace_;
};

// One call with one f32 output.
inline std::vector<float> RunKernel(const std::string& op, Attrs attrs,
                                    std::vector<TestTensor> inputs, const Shape& output,
                                    int threads = 1) {
  KernelCase test(op, std::move(attrs), std::move(inputs), {TestTensor::Empty(DType::kF32, output)},
                  threads);
  test.Run();
  return test.Output<float>();
}

// |actual - expected| <= relative * |expected| + absolute, element by element; NaN equals NaN.
inline void ExpectClose(const std::vector<float>& actual, const std::vector<double>& expected,
                        double relative, double absolute, const std::string& what = "") {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(actual[i])) continue;
    if (std::isinf(expected[i]) && actual[i] == static_cast<float>(expected[i])) continue;
    ASSERT_LE(std::abs(actual[i] - expected[i]), relative * std::abs(expected[i]) + absolute)
        << what << " element " << i << ": " << actual[i] << " != " << expected[i];
  }
}

// The indices of a shape, row-major.
inline std::vector<Shape> Indices(const Shape& shape) {
  std::vector<Shape> indices;
  Shape index(shape.size(), 0);
  for (int64_t n = NumElements(shape); n > 0; --n) {
    indices.push_back(index);
    for (size_t d = shape.size(); d-- > 0;) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
  return indices;
}

// Dense position of `index` in a tensor of shape `shape`, which is broadcast (aligned at the end).
inline int64_t BroadcastPosition(const Shape& shape, const Shape& index) {
  int64_t position = 0;
  const size_t lead = index.size() - shape.size();
  for (size_t d = 0; d < shape.size(); ++d) {
    position = position * shape[d] + (shape[d] == 1 ? 0 : index[lead + d]);
  }
  return position;
}

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_KERNEL_CASE_H_
