// Which of its algorithms a convolution gets: by measurement, from the file, and as the lowest rank has it. On software
// CUDA, whose two add in shares and in one, so that their bits differ; cuDNN's names are tested by asking it
// (tests/tools/test_cudnn_graphs.py).
#include "kernels/cuda/convolution_algorithms.h"

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/kernel_case.h"
#include "kernels/cuda/convolution_problem.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/device_bytes_for_test.h"
#include "kernels/cuda/offered_algorithms.h"
#include "kernels/cuda/soft_cuda_for_test.h"

namespace oneflow::kernels {
namespace {

// 16 images of 9 x 9 pixels and 8 channels, 8 filters of one tap; the gradient of filters has shares of pixels.
KernelSpec SpecOf(const std::string& op, int64_t parts = 0) {
  const Shape x = {16, 9, 9, 8}, w = {8, 8, 1, 1};
  const auto of = [](const Shape& shape) { return TestTensor::Empty(DType::kF32, shape).type; };
  KernelSpec spec;
  spec.op = op;
  spec.attrs = {{"stride", int64_t{1}}, {"padding", int64_t{0}}, {"dilation", int64_t{1}}};
  spec.inputs = {of(x), of(op == "conv2d_grad_weight" ? x : w)};
  spec.outputs = {of(op == "conv2d_grad_weight" ? w : x)};
  if (parts > 0) spec.outputs.resize(3, TestTensor::Empty(DType::kF32, {parts, 8}).type);
  return spec;
}
CudaConvolution ProblemOf(const std::string& op, int64_t parts = 0) {
  return ConvolutionOf(SpecOf(op, parts));
}

class ConvolutionAlgorithmsTest : public ::testing::Test {
 protected:
  ConvolutionAlgorithmsTest() {
    std::string name = ::testing::TempDir() + "enginesXXXXXX";
    folder_ = mkdtemp(name.data());
    path_ = folder_ + "/algorithms.txt";
  }
  ~ConvolutionAlgorithmsTest() override { std::filesystem::remove_all(folder_); }

  // The file says that `name` was the fastest.
  void Write(const std::string& path, const std::string& name) {
    AlgorithmChoices measured;
    measured.Measure(path);
    Planned(&measured);
    AlgorithmTable table;
    ASSERT_TRUE(measured.Settle(nullptr).ok());
    ASSERT_EQ(ReadAlgorithms(path, &table), "");
    ASSERT_EQ(table.size(), 1u);
    EXPECT_EQ(table.begin()->first.place, "software CUDA");
    EXPECT_EQ(table.begin()->second.times.substr(0, 3), "us ");
    table.begin()->second = {name, "us 1 1", true};
    ASSERT_EQ(MergeAlgorithms(path, table), "");
  }

  std::shared_ptr<void> Planned(AlgorithmChoices* choices,
                                const CudaConvolution& problem = ProblemOf("conv2d_grad_weight")) {
    void* made = nullptr;
    EXPECT_EQ(api_->convolution_plan(&problem, &made), 0);
    std::shared_ptr<void> plan(made, api_->convolution_release);
    EXPECT_TRUE(ChooseConvolutionAlgorithm(api_, problem, plan, choices).ok());
    return plan;
  }

  // What the plan makes of drawn operands.
  std::vector<unsigned char> Run(const std::shared_ptr<void>& plan) {
    const CudaConvolution p = ProblemOf("conv2d_grad_weight");
    const int64_t pixels = p.n * p.h * p.w * p.c;
    const std::vector<float> x = RandomFloats(pixels, 1), dy = RandomFloats(pixels, 2);
    DeviceBytes images(api_, pixels * 4), slopes(api_, pixels * 4), filters(api_, p.k * p.c * 4),
        workspace(api_, p.workspace_bytes);
    images.Write(x.data());
    slopes.Write(dy.data());
    const void* in[] = {images.data(), slopes.data()};
    void* out[] = {filters.data()};
    const CudaOperands operands = {in, out, workspace.data(), nullptr, 0};
    CudaStreamHandle stream = nullptr;
    EXPECT_EQ(api_->stream_create(&stream), 0);
    EXPECT_EQ(api_->convolution(plan.get(), &operands, stream), 0);
    EXPECT_EQ(api_->stream_synchronize(stream), 0);
    api_->stream_destroy(stream);
    return filters.Read();
  }

  const CudaApi* const api_ = SoftCudaApi();
  std::string folder_, path_;
};

TEST_F(ConvolutionAlgorithmsTest, TakesTheFilesEngine) {
  AlgorithmChoices heuristics;
  const std::vector<unsigned char> plain = Run(Planned(&heuristics));
  for (const char* name : {"in shares", "in one"}) {
    const std::string path = path_ + name;
    Write(path, name);
    AlgorithmChoices choices;
    choices.Measure(path);
    EXPECT_EQ(Run(Planned(&choices)) == plain, std::string(name) == "in shares") << name;
  }
}

// A rank that measured another takes that of the lowest, also in plans that it has made.
TEST_F(ConvolutionAlgorithmsTest, RanksTakeTheLowests) {
  AlgorithmChoices ranks[2];
  std::shared_ptr<void> plans[2];
  const char* const names[] = {"in one", "in shares"};
  for (int rank = 0; rank < 2; ++rank) {
    const std::string path = path_ + names[rank];
    Write(path, names[rank]);
    ranks[rank].Measure(path);
    plans[rank] = Planned(&ranks[rank]);
  }
  const std::vector<unsigned char> lowest = Run(plans[0]);
  EXPECT_NE(Run(plans[1]), lowest);
  std::vector<std::string> said;
  for (AlgorithmChoices& rank : ranks) {
    rank.Settle([&](const std::string& mine) -> absl::StatusOr<std::vector<std::string>> {
          said.push_back(mine);
          return absl::CancelledError("only asked");
        })
        .IgnoreError();
  }
  for (AlgorithmChoices& rank : ranks) {
    ASSERT_TRUE(rank.Settle([&](const std::string&) { return said; }).ok());
  }
  EXPECT_EQ(Run(plans[0]), lowest);
  EXPECT_EQ(Run(plans[1]), lowest);
  EXPECT_EQ(Run(Planned(&ranks[1])), lowest);
}

TEST_F(ConvolutionAlgorithmsTest, AProblemIsKnownByItsPassAndItsSums) {
  AlgorithmChoices choices;
  choices.Measure(path_);
  std::vector<std::shared_ptr<void>> plans;
  for (const CudaConvolution& problem :
       {ProblemOf("conv2d"), ProblemOf("conv2d_grad_input"), ProblemOf("conv2d_grad_weight"),
        ProblemOf("conv2d_sums", 1), ProblemOf("conv2d_sums", 4), ProblemOf("conv2d")}) {
    plans.push_back(Planned(&choices, problem));
  }
  ASSERT_TRUE(choices.Settle(nullptr).ok());
  AlgorithmTable table;
  ASSERT_EQ(ReadAlgorithms(path_, &table), "");
  EXPECT_EQ(table.size(), 5u);
}

TEST_F(ConvolutionAlgorithmsTest, ANameThatWasNotOfferedIsRefused) {
  AlgorithmChoices none;
  const std::shared_ptr<void> plan = Planned(&none);
  EXPECT_NE(api_->convolution_use(plan.get(), "in one"), 0);  // nothing was listed
  CudaAlgorithms offered = {};
  ASSERT_EQ(api_->convolution_algorithms(plan.get(), &offered), 0);
  EXPECT_EQ(api_->convolution_use(plan.get(), "in one"), 0);
  EXPECT_NE(api_->convolution_use(plan.get(), "engine 62"), 0);
}

// Software CUDA compiles nothing; what is asked of the library is seen by a table that passes it on.
TEST_F(ConvolutionAlgorithmsTest, EnginesAreCompiledForThoseWhoMeasureAlone) {
  static bool compiles;
  CudaApi api = *api_;
  api.convolution_plan = [](const CudaConvolution* problem, void** plan) {
    compiles = problem->compiles;
    return SoftCudaApi()->convolution_plan(problem, plan);
  };
  const KernelTable table = CudaKernels(&api);
  const auto asked = [&] {
    EXPECT_TRUE(table.Make(SpecOf("conv2d_sums", 1)).ok());
    return compiles;
  };
  EXPECT_FALSE(asked());
  AlgorithmChoices::OfProcess().Measure("");
  EXPECT_TRUE(asked());
  AlgorithmChoices::OfProcess().StopMeasuring();
  EXPECT_FALSE(asked());
}

// Nothing is asked for of images that are not there.
TEST_F(ConvolutionAlgorithmsTest, AnEmptyShardIsNotTimed) {
  AlgorithmChoices choices;
  choices.Measure(path_);
  CudaConvolution problem = ProblemOf("conv2d");
  problem.n = 0;
  Planned(&choices, problem);
  ASSERT_TRUE(choices.Settle(nullptr).ok());
  EXPECT_FALSE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace oneflow::kernels
