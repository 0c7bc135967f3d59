#include "compiler/compile.h"

#include <gtest/gtest.h>

#include "compiler/parallel/step_builder_for_test.h"
#include "plan/verify.h"

namespace oneflow {
namespace {

StepBuilder Mlp(int64_t batch, bool stages) {
  StepBuilder b;
  const ValueId x = b.Input("x", {batch, 32});
  const ValueId labels = b.Input("labels", {batch}, "i64");
  if (stages) b.stage = 0;
  const ValueId step = b.Scalar("step.dropout", "i64");
  const ValueId h = b.Op("relu", {b.Linear(x, b.Parameter("fc1.weight", {32, 64}))});
  if (stages) b.stage = 1;
  const ValueId d = b.Op(
      "dropout", {h, step},
      {{"p", AttrValue(0.1)}, {"seed", AttrValue(int64_t{1})}, {"key", AttrValue(int64_t{7})}});
  b.Train(b.CrossEntropy(b.Linear(d, b.Parameter("fc2.weight", {64, 10})), labels));
  return b;
}

struct Layout {
  std::vector<Axis> axes;
  int64_t batch;
  int micro_batches;
  int ranks;
};

const std::vector<Layout>& Layouts() {
  static const std::vector<Layout> layouts = {
      {{}, 8, 1, 1},
      {{{"dp", 2}}, 8, 1, 1},
      {{{"dp", 3}}, 7, 1, 1},
      {{{"tp", 2}}, 8, 1, 1},
      {{{"tp", 4}}, 8, 1, 1},
      {{{"dp", 2}, {"tp", 2}}, 8, 1, 1},
      {{{"pp", 2}}, 8, 4, 1},
      {{{"dp", 2}, {"pp", 2}}, 16, 4, 1},
      {{{"pp", 4}}, 64, 4, 1},
      {{{"pp", 3}, {"tp", 2}}, 24, 6, 1},
      {{{"dp", 2}}, 8, 1, 2},
      {{{"pp", 2}}, 8, 4, 2},
      {{{"dp", 2}, {"pp", 2}}, 16, 4, 2},
      {{{"pp", 4}}, 64, 4, 4},
  };
  return layouts;
}

void ExpectCompiles(const StepBuilder& step, const Layout& layout) {
  CompileOptions options;
  options.mesh = MeshOf(layout.axes);
  options.micro_batches = layout.micro_batches;
  options.world_size = layout.ranks;
  const int devices = static_cast<int>(options.mesh.devices.size());
  const plan::Target target = CpuTarget(devices, devices / layout.ranks);
  std::string fingerprint;
  std::vector<plan::Plan> plans;
  for (int rank = 0; rank < layout.ranks; ++rank) {
    options.rank = rank;
    const auto compiled = Compile(step.graph, target, options, /*keep_dumps=*/true);
    ASSERT_TRUE(compiled.ok()) << options.mesh.ToString() << ": " << compiled.status();
    EXPECT_GT(compiled->plan->tasks_size(), 0);
    // The logical part is the same text on every rank.
    const std::string& decided = compiled->dumps.back().second;
    if (rank == 0) fingerprint = decided;
    EXPECT_EQ(decided, fingerprint);
    EXPECT_FALSE(compiled->decisions.empty());
    plans.push_back(*compiled->plan);
  }
  std::vector<const plan::Plan*> all;
  for (const plan::Plan& plan : plans) all.push_back(&plan);
  const absl::Status proved = VerifyPlans(all);
  EXPECT_TRUE(proved.ok()) << options.mesh.ToString() << ": " << proved;
}

TEST(CompileTest, MlpUnderEveryLayout) {
  for (const Layout& layout : Layouts()) {
    for (const bool stages : {false, true}) {
      if (stages && MeshOf(layout.axes).stages() == 1) continue;
      ExpectCompiles(Mlp(layout.batch, stages), layout);
    }
  }
}

TEST(CompileTest, ResidualNetUnderEveryLayout) {
  for (const Layout& layout : Layouts()) {
    for (const bool stages : {false, true}) {
      if (stages && MeshOf(layout.axes).stages() == 1) continue;
      ExpectCompiles(ResidualNet(layout.batch, layout.micro_batches, stages), layout);
    }
  }
}

// The names of the passes, as dumps of a step compiled for two devices of that kind follow each other.
std::vector<std::string> PassesOn(const std::string& kind) {
  CompileOptions options;
  options.mesh = MeshOf({{"dp", 2}});
  plan::Target target = CpuTarget(2, 2);
  for (plan::TargetDevice& device : *target.mutable_devices()) device.set_kind(kind);
  const auto compiled = Compile(Mlp(8, false).graph, target, options, /*keep_dumps=*/true);
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  std::vector<std::string> passes;
  if (!compiled.ok()) return passes;
  for (const auto& [pass, text] : compiled->dumps) passes.push_back(pass);
  return passes;
}

TEST(CompileTest, DumpsFollowThePasses) {
  const std::vector<std::string> logical = {"trace",          "cancel_permutes", "join_slices",
                                            "cancel_casts",   "merge_common",    "remove_dead",
                                            "decide",         "insert_reshard",  "bucket_sums",
                                            "narrow_updates", "join_updates",    "pack_attention"};
  std::vector<std::string> cpu = logical, gpu = logical;
  cpu.push_back("fuse_elementwise");
  gpu.insert(gpu.end(), {"pad_classes", "fuse_bias", "join_bias_grads", "fuse_gelu",
                         "join_norm_grads", "fuse_conv_stats", "fuse_elementwise"});
  EXPECT_EQ(PassesOn("cpu"), cpu);
  EXPECT_EQ(PassesOn("cuda"), gpu);
}

}  // namespace
}  // namespace oneflow
