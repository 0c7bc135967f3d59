#include "kernels/cuda/algorithm_choices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/matmul_problem.h"
#include "kernels/cuda/product_algorithms.h"
#include "kernels/cuda/soft_cuda_for_test.h"

namespace oneflow::kernels {
namespace {

const AlgorithmKey kKey = {"GPU 1, library 2", "product 3x4x5"};
const std::vector<std::string> kThree = {"first", "second", "third"};

// A problem with fake times, its plan, and what was chosen for it.
struct Problem {
  AlgorithmKey key = kKey;
  std::vector<std::string> candidates = kThree;
  std::vector<double> seconds = {1, 1, 1};
  absl::Status failure;
  int timed = 0;
  std::string chosen;
  std::shared_ptr<void> plan = std::make_shared<int>(0);

  absl::Status ChooseBy(AlgorithmChoices* choices) {
    const auto timer = [this](size_t i) -> absl::StatusOr<double> {
      ++timed;
      if (!failure.ok()) return failure;
      return seconds[i];
    };
    const auto use = [this](const std::string& name) {
      chosen = name;
      return absl::OkStatus();
    };
    return choices->Choose(key, candidates, timer, plan, use);
  }
};

class AlgorithmChoicesTest : public ::testing::Test {
 protected:
  AlgorithmChoicesTest() {
    std::string name = ::testing::TempDir() + "algorithmsXXXXXX";
    folder_ = mkdtemp(name.data());
    path_ = folder_ + "/cache/algorithms.txt";
  }
  ~AlgorithmChoicesTest() override { std::filesystem::remove_all(folder_); }

  // By a process of its own.
  Problem Run(Problem problem) {
    AlgorithmChoices choices;
    choices.Measure(path_);
    EXPECT_TRUE(problem.ChooseBy(&choices).ok());
    EXPECT_TRUE(choices.Settle(nullptr).ok());
    return problem;
  }
  std::string Text() const {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Write(const std::string& text) const {
    std::filesystem::create_directories(folder_ + "/cache");
    std::ofstream(path_) << text;
  }

  std::string folder_, path_;
};

TEST(FastestAlgorithm, TheFirstStaysUnlessOneIsFasterByAMargin) {
  const auto fastest = [](const std::vector<double>& seconds) {
    std::vector<double> times;
    return *FastestAlgorithm(
        seconds.size(), [&](size_t i) { return seconds[i]; }, &times);
  };
  EXPECT_EQ(fastest({1.0, 0.98, 0.99}), 0u);
  EXPECT_EQ(fastest({1.0, 1.0, 1.0}), 0u);
  EXPECT_EQ(fastest({1.0, 0.9, 0.8}), 2u);
  EXPECT_EQ(fastest({1.0, 0.8, 0.8}), 1u);  // equals: the earlier
}

TEST(FastestAlgorithm, OneDisturbedTurnDecidesNothing) {
  std::vector<double> times;
  int turn = 0;
  const auto timer = [&](size_t i) { return i == 0 && turn++ == 2 ? 9.0 : i == 1 ? 0.99 : 1.0; };
  EXPECT_EQ(*FastestAlgorithm(2, timer, &times), 0u);
  EXPECT_THAT(times, ::testing::ElementsAre(1.0, 0.99));
}

TEST_F(AlgorithmChoicesTest, NothingIsTimedUnlessAsked) {
  AlgorithmChoices choices;
  Problem problem;
  ASSERT_TRUE(problem.ChooseBy(&choices).ok());
  EXPECT_EQ(problem.timed, 0);
  EXPECT_EQ(problem.chosen, "");
}

TEST_F(AlgorithmChoicesTest, WhatTheFileHasIsNotTimedAgain) {
  EXPECT_EQ(Run({.seconds = {3, 1, 2}}).chosen, "second");
  const Problem again = Run({.seconds = {1, 2, 3}});
  EXPECT_EQ(again.chosen, "second");
  EXPECT_EQ(again.timed, 0);
  EXPECT_THAT(Text(), ::testing::HasSubstr("us 3000000.00 1000000.00 2000000.00"));
}

TEST_F(AlgorithmChoicesTest, AnotherGpuLibraryOrProblemIsTimed) {
  Run({.seconds = {3, 1, 2}});
  for (const AlgorithmKey& key : {AlgorithmKey{"GPU 1, library 3", kKey.problem},
                                  AlgorithmKey{kKey.place, "product 3x4x6"}}) {
    const Problem other = Run({.key = key, .seconds = {3, 2, 1}});
    EXPECT_EQ(other.chosen, "third");
    EXPECT_GT(other.timed, 0);
  }
  EXPECT_EQ(Run({}).chosen, "second");
}

TEST_F(AlgorithmChoicesTest, DamagedLinesDoNotCount) {
  Run({.seconds = {3, 1, 2}});
  const std::string good = Text();
  std::string forged = good;
  forged.replace(forged.find("second"), 6, "third\t");
  for (const std::string& text : {forged, good.substr(0, good.size() - 5), good + "nonsense\n",
                                  good + std::string(3, '\0'), std::string()}) {
    Write(text);
    const Problem again = Run({.seconds = {2, 3, 1}});
    const bool held = text.starts_with(good);
    EXPECT_EQ(again.chosen, held ? "second" : "third") << text;
    EXPECT_EQ(Run({}).timed, 0) << text;  // and the file is whole again
  }
}

TEST_F(AlgorithmChoicesTest, WhatTheLibraryDoesNotProposeIsReplaced) {
  Run({.seconds = {3, 1, 2}});
  const Problem other = Run({.candidates = {"first", "fourth"}, .seconds = {2, 1}});
  EXPECT_EQ(other.chosen, "fourth");
  EXPECT_EQ(Run({.candidates = {"first", "fourth"}}).timed, 0);
}

TEST_F(AlgorithmChoicesTest, AForeignFileIsNotWritten) {
  for (const std::string& text : {std::string("my thesis\n"), std::string("oneflow algorithms 2\n"),
                                  std::string(size_t{5} << 20, 'x')}) {
    Write(text);
    EXPECT_EQ(Run({.seconds = {3, 1, 2}}).chosen, "second");
    EXPECT_EQ(Text(), text);
  }
}

TEST_F(AlgorithmChoicesTest, WhatIsWrongIsSaidOnce) {
  Write("my thesis\n");
  ::testing::internal::CaptureStderr();
  Run({.seconds = {3, 1, 2}});
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, ::testing::HasSubstr(path_));
  EXPECT_THAT(said, ::testing::HasSubstr("no file of algorithms"));
  EXPECT_EQ(said.find("oneflow: "), said.rfind("oneflow: "));
}

TEST_F(AlgorithmChoicesTest, AFolderThatTakesNoFileIsNoError) {
  std::ofstream(folder_ + "/cache") << "a file where the folder should be";
  EXPECT_EQ(Run({.seconds = {3, 1, 2}}).chosen, "second");
}

TEST_F(AlgorithmChoicesTest, WhereThereIsNoMemoryTheFirstStaysAndIsNotKept) {
  EXPECT_EQ(Run({.failure = absl::ResourceExhaustedError("none")}).chosen, "first");
  EXPECT_EQ(Run({.seconds = {3, 1, 2}}).chosen, "second");
}

TEST_F(AlgorithmChoicesTest, ProcessesThatWriteAtOnceLoseNothing) {
  constexpr int kProcesses = 8, kEach = 20;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    children.push_back(fork());
    if (children.back() != 0) continue;
    std::string wrong;
    for (int i = 0; i < kEach; ++i) {
      const AlgorithmTable added = {{{"GPU", absl::StrCat("p", p, ".", i)}, {"a", "us 1"}},
                                    {{"GPU", "all"}, {absl::StrCat("of ", p), "us 1"}}};
      wrong += MergeAlgorithms(path_, added);
    }
    _exit(wrong.empty() ? 0 : 1);
  }
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  AlgorithmTable table;
  EXPECT_EQ(ReadAlgorithms(path_, &table), "");
  EXPECT_EQ(table.size(), static_cast<size_t>(kProcesses * kEach + 1));
}

TEST_F(AlgorithmChoicesTest, WhatStandsThereFirstStays) {
  ASSERT_EQ(MergeAlgorithms(path_, {{kKey, {"second", "us 1"}}}), "");
  ASSERT_EQ(MergeAlgorithms(path_, {{kKey, {"third", "us 1"}}}), "");
  EXPECT_EQ(Run({}).chosen, "second");
}

// All say, then all hear, one after the other.
void SettleAll(const std::vector<AlgorithmChoices*>& ranks) {
  std::vector<std::string> said;
  for (AlgorithmChoices* rank : ranks) {
    rank->Settle([&](const std::string& mine) -> absl::StatusOr<std::vector<std::string>> {
          said.push_back(mine);
          return absl::CancelledError("only asked");
        })
        .IgnoreError();
  }
  for (AlgorithmChoices* rank : ranks) {
    EXPECT_TRUE(rank->Settle([&](const std::string&) { return said; }).ok());
  }
}

TEST_F(AlgorithmChoicesTest, TheLowestRankThatHasAProblemDecides) {
  AlgorithmChoices ranks[3];
  for (AlgorithmChoices& rank : ranks) rank.Measure("");
  const AlgorithmKey elsewhere = {"GPU 2, library 2", kKey.problem};
  Problem one = {.key = elsewhere, .seconds = {1, 2, 3}}, two = {.seconds = {3, 1, 2}},
          three = {.seconds = {3, 2, 1}};
  ASSERT_TRUE(one.ChooseBy(&ranks[0]).ok());
  ASSERT_TRUE(two.ChooseBy(&ranks[1]).ok());
  ASSERT_TRUE(three.ChooseBy(&ranks[2]).ok());
  SettleAll({&ranks[0], &ranks[1], &ranks[2]});
  EXPECT_EQ(one.chosen, "first");  // another kind of GPU
  EXPECT_EQ(two.chosen, "second");
  EXPECT_EQ(three.chosen, "second");
  // A rank that meets it later has it already, and what is agreed on stays.
  Problem late = {.seconds = {1, 2, 3}};
  ASSERT_TRUE(late.ChooseBy(&ranks[0]).ok());
  SettleAll({&ranks[0], &ranks[1], &ranks[2]});
  EXPECT_EQ(late.timed, 0);
  EXPECT_EQ(late.chosen, "second");
  EXPECT_EQ(two.chosen, "second");
}

TEST_F(AlgorithmChoicesTest, IfOneRankDoesNotMeasureNoneDoes) {
  AlgorithmChoices with, without;
  with.Measure(path_);
  Problem problem = {.seconds = {3, 1, 2}};
  ASSERT_TRUE(problem.ChooseBy(&with).ok());
  EXPECT_EQ(problem.chosen, "second");
  SettleAll({&with, &without});
  EXPECT_EQ(problem.chosen, "first");
  EXPECT_FALSE(with.measures());
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(AlgorithmChoicesTest, AReleasedPlanIsNotTouched) {
  AlgorithmChoices one, two;
  one.Measure("");
  two.Measure("");
  Problem first = {.seconds = {3, 1, 2}}, second = {.seconds = {3, 2, 1}};
  ASSERT_TRUE(first.ChooseBy(&one).ok());
  ASSERT_TRUE(second.ChooseBy(&two).ok());
  second.plan.reset();
  SettleAll({&one, &two});
  EXPECT_EQ(second.chosen, "third");
}

// On software CUDA: both of its algorithms are timed there, the file's is taken, and it has bits of its own.
TEST_F(AlgorithmChoicesTest, AProductTakesTheFilesAlgorithm) {
  const CudaApi* api = SoftCudaApi();
  CudaMatmul problem = {};
  problem.m = problem.n = 8;
  problem.k = 64;
  problem.batches = 1;
  problem.stride_d = 64;
  problem.alignment = 64;
  std::vector<float> a(8 * 64), b(64 * 8);
  for (size_t i = 0; i < a.size(); ++i) {
    a[i] = 1.0f / static_cast<float>(i + 1);
    b[i] = 1.0f / static_cast<float>(3 * i + 2);
  }
  const auto multiply = [&](AlgorithmChoices* choices) {
    void* made = nullptr;
    EXPECT_EQ(api->matmul_plan(&problem, &made), 0);
    const std::shared_ptr<void> plan(made, api->matmul_release);
    EXPECT_TRUE(ChooseProductAlgorithm(api, problem, plan, choices).ok());
    EXPECT_TRUE(choices->Settle(nullptr).ok());
    std::vector<float> d(64);
    void *da = nullptr, *db = nullptr, *dd = nullptr;
    CudaStreamHandle stream = nullptr;
    api->stream_create(&stream);
    for (const auto& [place, bytes] :
         {std::pair(&da, a.size()), std::pair(&db, b.size()), std::pair(&dd, d.size())}) {
      api->allocate(place, static_cast<int64_t>(bytes * sizeof(float)));
    }
    api->copy(da, a.data(), static_cast<int64_t>(a.size() * sizeof(float)), stream);
    api->copy(db, b.data(), static_cast<int64_t>(b.size() * sizeof(float)), stream);
    const CudaMatmulOperands operands = {da, db, nullptr, dd, nullptr};
    EXPECT_EQ(api->matmul(plan.get(), &operands, nullptr, stream), 0);
    api->copy(d.data(), dd, static_cast<int64_t>(d.size() * sizeof(float)), stream);
    api->stream_synchronize(stream);
    api->stream_destroy(stream);
    for (void* data : {da, db, dd}) api->release(data);
    return d;
  };
  AlgorithmChoices heuristics, measured, other;
  const std::vector<float> plain = multiply(&heuristics);
  measured.Measure(path_);
  multiply(&measured);
  AlgorithmTable table;
  ASSERT_EQ(ReadAlgorithms(path_, &table), "");
  ASSERT_EQ(table.size(), 1u);
  EXPECT_EQ(table.begin()->first.place, "software CUDA");
  std::vector<float> by[2];
  for (const bool backwards : {false, true}) {
    table.begin()->second = {backwards ? "backwards" : "forwards", "us 1 1", true};
    ASSERT_EQ(MergeAlgorithms(path_, table), "");
    AlgorithmChoices choices;
    choices.Measure(path_);
    by[backwards] = multiply(&choices);
  }
  EXPECT_EQ(by[0], plain);
  EXPECT_NE(by[1], plain);
  void* made = nullptr;
  ASSERT_EQ(api->matmul_plan(&problem, &made), 0);
  EXPECT_NE(api->matmul_use(made, "backwards"), 0);  // none was listed
  api->matmul_release(made);
}

// A product that does something beside is another problem: it has a line of its own.
TEST_F(AlgorithmChoicesTest, AProductIsKnownByWhatItDoesBeside) {
  const CudaApi* api = SoftCudaApi();
  AlgorithmChoices choices;
  choices.Measure(path_);
  for (const CudaEpilogue epilogue :
       {CudaEpilogue::kNone, CudaEpilogue::kBias, CudaEpilogue::kBiasGelu, CudaEpilogue::kBiasGeluX,
        CudaEpilogue::kGeluGrad, CudaEpilogue::kSumsOfA, CudaEpilogue::kSumsOfB}) {
    CudaMatmul problem = {};
    problem.m = problem.n = problem.k = 8;
    problem.batches = 1;
    problem.stride_d = 64;
    problem.alignment = 64;
    problem.math = CudaMath::kBF16;
    problem.epilogue = epilogue;
    void* made = nullptr;
    ASSERT_EQ(api->matmul_plan(&problem, &made), 0);
    ASSERT_NE(made, nullptr);
    const std::shared_ptr<void> plan(made, api->matmul_release);
    EXPECT_TRUE(ChooseProductAlgorithm(api, problem, plan, &choices).ok());
    EXPECT_TRUE(choices.Settle(nullptr).ok());
  }
  AlgorithmTable table;
  ASSERT_EQ(ReadAlgorithms(path_, &table), "");
  EXPECT_EQ(table.size(), 7u);
}

}  // namespace
}  // namespace oneflow::kernels
