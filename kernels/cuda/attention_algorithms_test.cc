// Whether attention is done by its own kernel or in slices by another: by measurement, from the file; what a slice is of;
// and which calls an engine may do. On software CUDA the own kernel stands for an engine.
#include "kernels/cuda/attention_algorithms.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/kernel_case.h"
#include "kernels/cuda/attention_space.h"
#include "kernels/cuda/attention_spec.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/device_bytes_for_test.h"
#include "kernels/cuda/offered_algorithms.h"
#include "kernels/cuda/soft_cuda_for_test.h"
#include "kernels/cuda/specs_by_hand.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels {
namespace {

CudaAttention ProblemOf(const std::string& op, const AttentionSizes& sizes = {}) {
  return AttentionOf(AttentionSpec(op, sizes));
}

// ---- Slices ----

TEST(AttentionSpaceTest, AForwardPassIsOneSlice) {
  CudaAttention a = ProblemOf("attention");
  EXPECT_EQ(SliceBatch(a), 4);
  EXPECT_GE(EngineRoom(a), 256);  // what cuDNN's fastest asks for
  a.workspace_bytes = 0;
  EXPECT_EQ(SliceBatch(a), 0);
}

// Gradients of the scores of the samples of a slice, and their rows, fit into what the own kernel is given; and one more
// part of the batch would not.
TEST(AttentionSpaceTest, AGradientIsDoneInAsManySamplesAsFit) {
  for (const AttentionSizes& sizes :
       {AttentionSizes{16, 1024, 1024, 16, 16, 64}, AttentionSizes{32, 512, 512, 16, 16, 64},
        AttentionSizes{4, 2048, 2048, 32, 8, 128}}) {
    CudaAttention a = ProblemOf("attention_grad", sizes);
    const int64_t slice = SliceBatch(a);
    ASSERT_GT(slice, 0);
    EXPECT_EQ(a.batch % slice, 0);
    CudaAttention part = a;
    part.batch = slice;
    const int64_t wanted = slice * SampleEngineBytes(a) + 256;
    EXPECT_LE(wanted, EngineRoom(part));
    part.batch = 2 * slice;
    EXPECT_TRUE(part.batch > a.batch || 2 * wanted > EngineRoom(part));
  }
  // 128 keys: the own kernel keeps two numbers of each row.
  EXPECT_EQ(SliceBatch(ProblemOf("attention_grad", {64, 128, 128, 16, 16, 64})), 0);
}

// What cuDNN 9.19 asks for, beside 256 bytes (./dev long cudnn-graphs).
TEST(AttentionSpaceTest, AnEngineKeepsSlopesInWholeTiles) {
  EXPECT_EQ(SampleEngineBytes(ProblemOf("attention_grad", {1, 512, 512, 16, 16, 64})), 8388608);
  EXPECT_EQ(SampleEngineBytes(ProblemOf("attention_grad", {1, 100, 77, 8, 8, 80})), 262144);
  EXPECT_EQ(SampleEngineBytes(ProblemOf("attention_grad", {1, 2048, 2048, 32, 8, 128})), 301989888);
}

TEST(AttentionSpaceTest, WhatAnEngineWouldDoOtherwiseIsTheOwnKernels) {
  const CudaAttention a = ProblemOf("attention");
  EXPECT_TRUE(IsForEngine(a));
  const auto changed = [&](auto change) {
    CudaAttention other = a;
    change(&other);
    return IsForEngine(other);
  };
  EXPECT_FALSE(changed([](CudaAttention* o) { o->drops = true; }));
  EXPECT_FALSE(changed([](CudaAttention* o) { o->mask_input = 3; }));
  EXPECT_FALSE(changed([](CudaAttention* o) { o->dlse_input = 6; }));
  EXPECT_FALSE(changed([](CudaAttention* o) { o->first_query = 64; }));
  EXPECT_FALSE(changed([](CudaAttention* o) { o->queries = 1; }));
  EXPECT_FALSE(changed([](CudaAttention* o) { o->value_width = 32; }));
  EXPECT_FALSE(changed([](CudaAttention* o) { o->q_pitch += 4; }));
  EXPECT_FALSE(changed([](CudaAttention* o) { o->dtype = static_cast<int32_t>(DType::kF32); }));
  EXPECT_TRUE(changed([](CudaAttention* o) { o->causal = false, o->first_query = 64; }));
}

// A plan for others has not a byte more.
TEST(AttentionSpaceTest, OnlyWhatAnEngineMayDoHasWorkspaceForIt) {
  AttentionSizes wide;
  wide.dtype = DType::kF32;
  EXPECT_EQ(ProblemOf("attention", wide).workspace_bytes, 0);
  EXPECT_EQ(ProblemOf("attention").workspace_bytes, kLibraryAlignment + kSmallEngineBytes);
}

// ---- Choices ----

class AttentionAlgorithmsTest : public ::testing::Test {
 protected:
  AttentionAlgorithmsTest() {
    std::string name = ::testing::TempDir() + "attentionXXXXXX";
    folder_ = mkdtemp(name.data());
    path_ = folder_ + "/algorithms.txt";
    still_.attention = [](const void*, const CudaAttention*, const CudaOperands*,
                          CudaStreamHandle) { return 0; };
  }
  ~AttentionAlgorithmsTest() override { std::filesystem::remove_all(folder_); }

  std::shared_ptr<void> Planned(AlgorithmChoices* choices, const CudaAttention& problem) {
    void* made = nullptr;
    EXPECT_EQ(api_->attention_plan(&problem, &made), 0);
    std::shared_ptr<void> plan(made, api_->attention_release);
    EXPECT_TRUE(ChooseAttentionAlgorithm(&still_, problem, plan, choices).ok());
    return plan;
  }

  // What a plan makes of drawn operands: all outputs, one behind the other.
  std::vector<float> Run(const std::shared_ptr<void>& plan, const CudaAttention& a,
                         const AttentionSizes& sizes = {}) {
    const KernelSpec spec = AttentionSpec(a.backward ? "attention_grad" : "attention", sizes);
    std::vector<std::unique_ptr<DeviceBytes>> memory;
    std::vector<const void*> in;
    std::vector<void*> out;
    uint32_t seed = 0;
    const auto place = [&](const Operand& operand, bool drawn) {
      const int64_t count = NumElements(operand.shape);
      memory.push_back(std::make_unique<DeviceBytes>(api_, count * SizeOf(operand.dtype)));
      if (!drawn) {
        const std::vector<char> zeros(static_cast<size_t>(count * SizeOf(operand.dtype)));
        memory.back()->Write(zeros.data());
      } else {
        const std::vector<float> values = RandomFloats(count, ++seed);
        if (operand.dtype == DType::kF32) {
          // lse, above all scores
          std::vector<float> above;
          for (const float value : values) above.push_back(value + 8);
          memory.back()->Write(above.data());
        } else {
          const std::vector<BF16> narrow(values.begin(), values.end());
          memory.back()->Write(narrow.data());
        }
      }
      return memory.back()->data();
    };
    for (const Operand& operand : spec.inputs) in.push_back(place(operand, true));
    const size_t first = memory.size();
    for (const Operand& operand : spec.outputs) out.push_back(place(operand, false));
    DeviceBytes workspace(api_, a.workspace_bytes);
    const CudaOperands operands = {in.data(), out.data(), workspace.data(), nullptr, 0};
    CudaStreamHandle stream = nullptr;
    EXPECT_EQ(api_->stream_create(&stream), 0);
    EXPECT_EQ(api_->attention(plan.get(), &a, &operands, stream), 0);
    EXPECT_EQ(api_->stream_synchronize(stream), 0);
    api_->stream_destroy(stream);
    std::vector<float> results;
    for (size_t i = 0; i < spec.outputs.size(); ++i) {
      const std::vector<unsigned char> bytes = memory[first + i]->Read();
      if (spec.outputs[i].dtype == DType::kF32) {
        const auto* values = reinterpret_cast<const float*>(bytes.data());
        results.insert(results.end(), values, values + bytes.size() / 4);
      } else {
        const auto* values = reinterpret_cast<const BF16*>(bytes.data());
        for (size_t e = 0; e < bytes.size() / 2; ++e) {
          results.push_back(static_cast<float>(values[e]));
        }
      }
    }
    return results;
  }

  const CudaApi* const api_ = SoftCudaApi();
  CudaApi still_ = *api_;  // which times nothing: a call of software CUDA takes long
  std::string folder_, path_;
};

std::vector<std::string> Offered(const CudaApi* api, const std::shared_ptr<void>& plan) {
  CudaAlgorithms offered = {};
  EXPECT_EQ(api->attention_algorithms(plan.get(), &offered), 0);
  return {offered.names, offered.names + offered.count};
}

// Each sample of each operand is where it would be in the whole call.
TEST_F(AttentionAlgorithmsTest, SlicesMakeTheWhole) {
  AttentionSizes few;
  few.keys = 64;
  for (const char* op : {"attention", "attention_grad"}) {
    CudaAttention a = ProblemOf(op, few);
    if (a.backward) {
      // Room for one sample of the four.
      a.workspace_bytes =
          std::max(a.workspace_bytes, kLibraryAlignment + kSmallEngineBytes + SampleEngineBytes(a) +
                                          AlignedBytes(SampleRowBytes(a)));
    }
    EXPECT_EQ(SliceBatch(a), a.backward ? 1 : 4);
    AlgorithmChoices none;
    const std::shared_ptr<void> plan = Planned(&none, a);
    const std::vector<float> whole = Run(plan, a, few);
    ASSERT_EQ(Offered(api_, plan),
              (std::vector<std::string>{"own kernel", "own kernel in slices"}));
    ASSERT_EQ(api_->attention_use(plan.get(), "own kernel in slices"), 0);
    const std::vector<float> sliced = Run(plan, a, few);
    EXPECT_EQ(whole, sliced) << op;  // a sample's bits are its own where no keys are shared out
    EXPECT_GT(*std::max_element(sliced.end() - 100, sliced.end()), 0.0f) << op;
  }
}

// The file decides; which it was is seen by a table that hears what is used.
TEST_F(AttentionAlgorithmsTest, TakesWhatTheFileSays) {
  static std::string used;
  CudaApi api = still_;
  api.attention_use = [](void* plan, const char* name) {
    used = name;
    return SoftCudaApi()->attention_use(plan, name);
  };
  const CudaAttention a = ProblemOf("attention");
  const auto plan = [&](AlgorithmChoices* choices) {
    void* made = nullptr;
    EXPECT_EQ(api.attention_plan(&a, &made), 0);
    const std::shared_ptr<void> held(made, api.attention_release);
    EXPECT_TRUE(ChooseAttentionAlgorithm(&api, a, held, choices).ok());
  };
  AlgorithmChoices measured;
  measured.Measure(path_);
  plan(&measured);
  ASSERT_TRUE(measured.Settle(nullptr).ok());
  for (const char* name : {"own kernel", "own kernel in slices"}) {
    AlgorithmTable table;
    ASSERT_EQ(ReadAlgorithms(path_, &table), "");
    ASSERT_EQ(table.size(), 1u);
    table.begin()->second = {name, "us 1 1", true};
    ASSERT_EQ(MergeAlgorithms(path_, table), "");
    AlgorithmChoices choices;
    choices.Measure(path_);
    used = "";
    plan(&choices);
    EXPECT_EQ(used, name);
  }
}

TEST_F(AttentionAlgorithmsTest, NothingIsAskedForUnlessSomebodyMeasures) {
  static int asked;
  CudaApi api = still_;
  api.attention_algorithms = [](void* plan, CudaAlgorithms* offered) {
    ++asked;
    return SoftCudaApi()->attention_algorithms(plan, offered);
  };
  const KernelTable table = CudaKernels(&api);
  const auto made = [&](const KernelSpec& spec) {
    asked = 0;
    EXPECT_TRUE(table.Make(spec).ok());
    return asked;
  };
  EXPECT_EQ(made(AttentionSpec("attention", {})), 0);
  AlgorithmChoices::OfProcess().Measure("");
  EXPECT_EQ(made(AttentionSpec("attention", {})), 1);
  AttentionSizes few;
  few.queries = 1;
  EXPECT_EQ(made(AttentionSpec("attention", few)), 0);
  AlgorithmChoices::OfProcess().StopMeasuring();
  EXPECT_EQ(made(AttentionSpec("attention", {})), 0);
}

TEST_F(AttentionAlgorithmsTest, AProblemIsKnownByAllThatItsEngineIsMadeOf) {
  AlgorithmChoices choices;
  choices.Measure(path_);
  AttentionSizes seen, few;
  seen.causal = false;
  few.keys = 128;
  std::vector<std::shared_ptr<void>> plans;
  for (const CudaAttention& problem : {ProblemOf("attention"), ProblemOf("attention", seen),
                                       ProblemOf("attention", few), ProblemOf("attention")}) {
    plans.push_back(Planned(&choices, problem));
  }
  ASSERT_TRUE(choices.Settle(nullptr).ok());
  AlgorithmTable table;
  ASSERT_EQ(ReadAlgorithms(path_, &table), "");
  EXPECT_EQ(table.size(), 3u);
}

TEST_F(AttentionAlgorithmsTest, ANameThatWasNotOfferedIsRefused) {
  AlgorithmChoices none;
  const std::shared_ptr<void> plan = Planned(&none, ProblemOf("attention"));
  EXPECT_NE(api_->attention_use(plan.get(), "own kernel"), 0);  // nothing was listed
  Offered(api_, plan);
  EXPECT_EQ(api_->attention_use(plan.get(), "own kernel"), 0);
  EXPECT_NE(api_->attention_use(plan.get(), "engine 2"), 0);
}

// A later micro-batch's queries begin behind the first's: the diagonal is elsewhere.
TEST_F(AttentionAlgorithmsTest, LaterQueriesAreTheOwnKernels) {
  CudaAttention a = ProblemOf("attention");
  AlgorithmChoices none;
  const std::shared_ptr<void> plan = Planned(&none, a);
  Offered(api_, plan);
  ASSERT_EQ(api_->attention_use(plan.get(), "own kernel in slices"), 0);
  const std::vector<float> first = Run(plan, a);
  a.first_query = 64;
  const std::vector<float> later = Run(plan, a);
  ASSERT_EQ(api_->attention_use(plan.get(), "own kernel"), 0);
  EXPECT_EQ(Run(plan, a), later);
  EXPECT_NE(first, later);
}

}  // namespace
}  // namespace oneflow::kernels
