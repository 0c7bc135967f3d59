#include "interpreter/interpreter.h"

#include <cmath>
#include <cstring>

#include "base/status.h"
#include "compiler/ops/op_table.h"
#include "compiler/passes/autodiff.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_kernels.h"

namespace oneflow {
namespace {

using kernels::CpuKernels;

template <typename T>
HostTensor Tensor(DType dtype, Shape shape, const std::vector<T>& values) {
  HostTensor tensor = HostTensor::Allocate(dtype, std::move(shape));
  std::memcpy(tensor.data.get(), values.data(), values.size() * sizeof(T));
  return tensor;
}
HostTensor Floats(Shape shape, const std::vector<float>& values) {
  return Tensor(DType::kF32, std::move(shape), values);
}
std::vector<float> Values(const HostTensor& tensor) {
  std::vector<float> values(NumElements(tensor.shape));
  if (!values.empty()) std::memcpy(values.data(), tensor.data.get(), tensor.bytes());
  return values;
}

const Location kHere = {"model.py", 12, "forward"};

TEST(KernelCoverage, EveryOpThatComputesHasACpuKernel) {
  for (const OpDef& def : Ops()) {
    if (def.structural || def.view) continue;
    EXPECT_NE(CpuKernels().Find(def.name), nullptr)
        << def.name << " has no kernel: write one under kernels/cpu";
  }
}

TEST(KernelCoverage, EveryMovementTaskHasACpuKernel) {
  for (const char* op : {"pack", "assemble", "ring_send", "ring_reduce", "accumulate",
                         "micro_slice", "micro_concat", "micro_mask"}) {
    EXPECT_NE(CpuKernels().Find(op), nullptr) << op;
  }
}

TEST(RunOp, InfersTypesAndFillsDefaults) {
  const auto result = RunOp(CpuKernels(), "matmul",
                            {Floats({2, 2}, {1, 2, 3, 4}), Floats({2, 1}, {5, 6})}, {}, kHere);
  ASSERT_TRUE(result.ok()) << MessageOf(result.status());
  EXPECT_EQ(result->at(0).shape, (Shape{2, 1}));
  EXPECT_EQ(Values(result->at(0)), (std::vector<float>{17, 39}));
}

TEST(RunOp, ErrorsCarryTheUsersLine) {
  const auto shape = RunOp(CpuKernels(), "matmul",
                           {Floats({2, 2}, {1, 2, 3, 4}), Floats({3, 1}, {5, 6, 7})}, {}, kHere);
  ASSERT_FALSE(shape.ok());
  EXPECT_EQ(KindOf(shape.status()), ErrorKind::kShape);
  EXPECT_EQ(LocationOf(shape.status()), kHere);
  const auto dtype =
      RunOp(CpuKernels(), "exp", {Tensor<int64_t>(DType::kI64, {1}, {1})}, {}, kHere);
  EXPECT_EQ(KindOf(dtype.status()), ErrorKind::kDType);
  EXPECT_EQ(LocationOf(dtype.status()), kHere);
  EXPECT_FALSE(RunOp(CpuKernels(), "no_such_op", {}, {}, kHere).ok());
  EXPECT_FALSE(RunOp(CpuKernels(), "state_read", {}, {{"name", std::string("w")}}, kHere).ok());
}

TEST(RunOp, AViewSharesBytes) {
  const HostTensor x = Floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto y =
      RunOp(CpuKernels(), "reshape", {x}, {{"shape", std::vector<int64_t>{3, 2}}}, kHere);
  ASSERT_TRUE(y.ok());
  EXPECT_EQ(y->at(0).data, x.data);
  EXPECT_EQ(y->at(0).shape, (Shape{3, 2}));
}

TEST(RunOp, TakesBytesAtAnyAlignment) {
  const HostTensor block = HostTensor::Allocate(DType::kU8, {64});
  HostTensor odd{DType::kF32, {3}, std::shared_ptr<std::byte>(block.data, block.data.get() + 1)};
  const std::vector<float> values = {-1, 2, -3};
  std::memcpy(odd.data.get(), values.data(), 12);
  const auto y = RunOp(CpuKernels(), "relu", {odd}, {}, kHere);
  ASSERT_TRUE(y.ok());
  EXPECT_EQ(Values(y->at(0)), (std::vector<float>{0, 2, 0}));
}

// loss = sum((x w)^2); w -= 0.1 dw. Kept small so that the numbers are worked out by hand.
class TinyStep : public ::testing::Test {
 protected:
  TinyStep() : graph_("tiny") {
    here_ = graph_.AddLocation(kHere);
    EXPECT_TRUE(graph_.AddState("w", {DType::kF32, {2, 1}}).ok());
    const ValueId x = Add("input", {},
                          {{"name", std::string("x")},
                           {"dtype", std::string("f32")},
                           {"shape", std::vector<int64_t>{1, 2}}});
    const ValueId w = Add("state_read", {}, {{"name", std::string("w")}});
    const ValueId square = Add("square", {Add("matmul", {x, w}, {})}, {});
    const ValueId loss = Add("sum", {square}, {{"dims", std::vector<int64_t>{0, 1}}});
    const auto gradients = AddGradients(&graph_, loss, {w});
    EXPECT_TRUE(gradients.ok()) << MessageOf(gradients.status());
    const ValueId change = Add("mul_scalar", {(*gradients)[0]}, {{"value", 0.1}});
    const ValueId next = Add("sub", {w, change}, {});
    EXPECT_TRUE(graph_.AddNode("state_write", {next}, {{"name", std::string("w")}}, here_).ok());
    EXPECT_TRUE(graph_.AddNode("output", {loss}, {{"name", std::string("loss")}}, here_).ok());
    // Reads after the write still see the step's beginning.
    const ValueId again = Add("state_read", {}, {{"name", std::string("w")}});
    EXPECT_TRUE(graph_.AddNode("output", {again}, {{"name", std::string("w")}}, here_).ok());
  }

  ValueId Add(const std::string& op, std::vector<ValueId> inputs, Attrs attrs) {
    const auto values = graph_.AddNode(op, std::move(inputs), std::move(attrs), here_);
    EXPECT_TRUE(values.ok()) << op << ": " << MessageOf(values.status());
    return values->at(0);
  }

  Graph graph_;
  LocationId here_;
};

TEST_F(TinyStep, RunsForwardBackwardAndWritesStates) {
  std::map<std::string, HostTensor> states = {{"w", Floats({2, 1}, {1, 2})}};
  const HostTensor before = states["w"];
  const std::map<std::string, HostTensor> inputs = {{"x", Floats({1, 2}, {3, 1})}};
  const auto outputs = RunGraph(CpuKernels(), graph_, inputs, &states);
  ASSERT_TRUE(outputs.ok()) << MessageOf(outputs.status());
  EXPECT_EQ(Values(outputs->at("loss")), (std::vector<float>{25}));
  EXPECT_EQ(Values(outputs->at("w")), (std::vector<float>{1, 2}));
  // dw = 2 (x w) x = [30, 10]
  EXPECT_EQ(Values(states["w"]), (std::vector<float>{-2, 1}));
  EXPECT_EQ(Values(before), (std::vector<float>{1, 2})) << "a state is replaced, not overwritten";
}

TEST_F(TinyStep, RefusesWrongOrMissingTensors) {
  std::map<std::string, HostTensor> states = {{"w", Floats({2, 1}, {1, 2})}};
  const auto missing = RunGraph(CpuKernels(), graph_, {}, &states);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(MessageOf(missing.status()).find("\"x\""), std::string::npos);
  EXPECT_EQ(LocationOf(missing.status()), kHere);
  const auto shape = RunGraph(CpuKernels(), graph_, {{"x", Floats({2, 1}, {3, 1})}}, &states);
  EXPECT_EQ(KindOf(shape.status()), ErrorKind::kShape);
  const auto dtype = RunGraph(CpuKernels(), graph_,
                              {{"x", Tensor<int32_t>(DType::kI32, {1, 2}, {3, 1})}}, &states);
  EXPECT_EQ(KindOf(dtype.status()), ErrorKind::kDType);
  EXPECT_FALSE(RunGraph(CpuKernels(), graph_, {{"x", Floats({1, 2}, {3, 1})}}, nullptr).ok());
  EXPECT_EQ(Values(states["w"]), (std::vector<float>{1, 2})) << "a failed step changes no state";
}

TEST_F(TinyStep, TeamsAgree) {
  const std::map<std::string, HostTensor> inputs = {{"x", Floats({1, 2}, {3, 1})}};
  std::map<std::string, HostTensor> one = {{"w", Floats({2, 1}, {1, 2})}};
  std::map<std::string, HostTensor> two = one;
  ASSERT_TRUE(RunGraph(CpuKernels(), graph_, inputs, &one, 1).ok());
  ASSERT_TRUE(RunGraph(CpuKernels(), graph_, inputs, &two, 2).ok());
  EXPECT_EQ(Values(one["w"]), Values(two["w"]));
}

}  // namespace
}  // namespace oneflow
