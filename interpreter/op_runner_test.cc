#include "interpreter/op_runner.h"

#include <cstring>
#include <thread>

#include "base/status.h"
#include "compiler/ops/op_table.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_kernels.h"

namespace oneflow {
namespace {

HostTensor Floats(Shape shape, const std::vector<float>& values) {
  HostTensor tensor = HostTensor::Allocate(DType::kF32, std::move(shape));
  std::memcpy(tensor.data.get(), values.data(), values.size() * sizeof(float));
  return tensor;
}
std::vector<float> Values(const HostTensor& tensor) {
  std::vector<float> values(NumElements(tensor.shape));
  std::memcpy(values.data(), tensor.data.get(), tensor.bytes());
  return values;
}

class OpRunnerTest : public ::testing::Test {
 protected:
  std::vector<float> Run(const std::string& op, const std::vector<HostTensor>& inputs,
                         Attrs attrs = {}) {
    std::vector<TensorType> types;
    for (const HostTensor& input : inputs) types.push_back({input.dtype, input.shape});
    const auto call = runner_.Prepare(*FindOp(op), types, std::move(attrs), 1);
    EXPECT_TRUE(call.ok()) << MessageOf(call.status());
    const auto outputs = call->Run(inputs);
    EXPECT_TRUE(outputs.ok()) << MessageOf(outputs.status());
    return Values(outputs->at(0));
  }

  OpRunner runner_{kernels::CpuKernels(), 4};
  const HostTensor x_ = Floats({2, 2}, {1, 2, 3, 4});
};

TEST_F(OpRunnerTest, RemembersACallOfTheSameKind) {
  EXPECT_EQ(Run("add", {x_, x_}), (std::vector<float>{2, 4, 6, 8}));
  EXPECT_EQ(Run("add", {x_, Floats({2, 2}, {0, 0, 0, 1})}), (std::vector<float>{1, 2, 3, 5}));
  EXPECT_EQ(runner_.remembered(), 1u);
}

TEST_F(OpRunnerTest, TellsCallsApart) {
  const auto dims = [](int64_t dim) {
    return Attrs{{"dims", std::vector<int64_t>{dim}}, {"keepdim", false}};
  };
  EXPECT_EQ(Run("sum", {x_}, dims(0)), (std::vector<float>{4, 6}));
  EXPECT_EQ(Run("sum", {x_}, dims(1)), (std::vector<float>{3, 7}));
  EXPECT_EQ(Run("mul", {x_, x_}), (std::vector<float>{1, 4, 9, 16}));
  EXPECT_EQ(Run("mul", {x_, Floats({1}, {3})}), (std::vector<float>{3, 6, 9, 12}));
  EXPECT_EQ(runner_.remembered(), 4u);
}

TEST_F(OpRunnerTest, ForgetsAllWhenItIsFull) {
  for (int64_t n = 1; n <= 9; ++n) {
    Run("relu", {Floats({n}, std::vector<float>(n, 1))});
    EXPECT_LE(runner_.remembered(), 4u);
  }
  EXPECT_EQ(Run("relu", {Floats({1}, {-1})}), std::vector<float>{0});
}

TEST_F(OpRunnerTest, RefusesWhatTheSchemaRefusesEachTime) {
  for (int i = 0; i < 2; ++i) {
    const auto call =
        runner_.Prepare(*FindOp("add"), {{DType::kF32, {2}}, {DType::kF32, {3}}}, {}, 1);
    ASSERT_FALSE(call.ok());
    EXPECT_EQ(KindOf(call.status()), ErrorKind::kShape);
  }
  EXPECT_FALSE(runner_.Prepare(*FindOp("state_read"), {}, {{"name", std::string("w")}}, 1).ok());
  EXPECT_EQ(runner_.remembered(), 0u);
}

// A kernel runs in one thread at a time: the second call has one of its own.
TEST_F(OpRunnerTest, CallsOverlap) {
  const std::vector<TensorType> types = {{DType::kF32, {2, 2}}};
  const auto first = runner_.Prepare(*FindOp("square"), types, {}, 1);
  EXPECT_EQ(Run("square", {x_}), (std::vector<float>{1, 4, 9, 16}));
  std::vector<std::thread> threads;
  std::vector<int> right(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        right[t] += Run("square", {x_}) == std::vector<float>{1, 4, 9, 16} ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, std::vector<int>(4, 200));
  EXPECT_EQ(Values(first->Run({x_})->at(0)), (std::vector<float>{1, 4, 9, 16}));
}

}  // namespace
}  // namespace oneflow
