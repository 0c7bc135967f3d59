// KernelSpec and KernelTable.
#include "kernels/kernel.h"

#include "base/status.h"
#include "gtest/gtest.h"
#include "kernels/cpu/cpu_kernels.h"

namespace oneflow::kernels {
namespace {

TEST(KernelSpec, FromTaskReadsPorts) {
  plan::Task task;
  task.set_op("relu");
  plan::Port* in = task.add_inputs();
  in->mutable_type()->set_dtype(plan::F32);
  in->mutable_type()->add_shape(2);
  in->mutable_type()->add_shape(3);
  in->add_logical_shape(8);
  in->add_logical_shape(3);
  in->add_begin(4);
  in->add_begin(0);
  in->set_micro_dim(0);
  in->set_micro_stride(2);
  plan::Port* out = task.add_outputs();
  out->mutable_type()->set_dtype(plan::F32);
  out->mutable_type()->add_shape(2);
  out->mutable_type()->add_shape(3);
  const KernelSpec spec = KernelSpec::FromTask(task, 2);
  EXPECT_EQ(spec.op, "relu");
  EXPECT_EQ(spec.threads, 2);
  EXPECT_EQ(spec.inputs[0].shape, (Shape{2, 3}));
  EXPECT_EQ(spec.inputs[0].logical_shape, (Shape{8, 3}));
  EXPECT_EQ(spec.inputs[0].begin, (Shape{4, 0}));
  EXPECT_EQ(spec.inputs[0].micro_stride, 2);
  // A port without a logical place is its own whole.
  EXPECT_EQ(spec.outputs[0].logical_shape, (Shape{2, 3}));
  EXPECT_EQ(spec.outputs[0].begin, (Shape{0, 0}));
}

TEST(KernelSpec, KeyNamesTheProblemButNotThePlace) {
  KernelSpec spec;
  spec.op = "add_scalar";
  spec.attrs.Set("value", 0.5);
  Operand operand;
  operand.dtype = DType::kF32;
  operand.shape = {2, 3};
  spec.inputs = {operand};
  spec.outputs = {operand};
  const std::string key = spec.Key();
  EXPECT_EQ(key, "add_scalar" + spec.attrs.ToString() + " f32[2,3] -> f32[2,3] x1");
  spec.inputs[0].begin = {4, 0};
  EXPECT_EQ(spec.Key(), key);
  spec.threads = 2;
  EXPECT_NE(spec.Key(), key);
}

TEST(KernelTable, FindsByNameAndNamesWhatIsMissing) {
  EXPECT_NE(CpuKernels().Find("add"), nullptr);
  EXPECT_EQ(CpuKernels().Find("no_such_op"), nullptr);
  KernelSpec spec;
  spec.op = "no_such_op";
  const absl::Status status = CpuKernels().Make(spec).status();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(MessageOf(status).find("no_such_op"), std::string::npos);
  EXPECT_FALSE(CpuKernels().Describe(spec).ok());
}

}  // namespace
}  // namespace oneflow::kernels
