#include "tools/plan_tool.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plan/plans_for_test.h"
#include "plan/text.h"

namespace oneflow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// What a run of the tool said.
struct Said {
  int code;
  std::string out;
  std::string err;
};

class PlanToolTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "plan_tool_test_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& bytes) {
    const std::string path = folder_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  static Said Run(const std::vector<std::string>& arguments) {
    std::ostringstream out, err;
    const int code = PlanTool(arguments, out, err);
    return {code, out.str(), err.str()};
  }

  std::string folder_;
};

TEST_F(PlanToolTest, ReadsBinaryAndTextAlike) {
  const plan::Plan plan = Pipeline().Build();
  const std::string text = PrintPlan(plan);
  const Said from_binary = Run({"print", Write("a", plan.SerializeAsString())});
  const Said from_text = Run({"print", Write("b", text)});
  EXPECT_EQ(from_binary.code, 0);
  EXPECT_EQ(from_binary.out, text);
  EXPECT_EQ(from_text.out, text);
}

TEST_F(PlanToolTest, VerifiesARankAloneAndAFolderTogether) {
  const auto [sender, receiver] = Transfer();
  const std::string first = Write("job/rank1", receiver.SerializeAsString());
  Write("job/rank0", PrintPlan(sender));
  EXPECT_THAT(Run({"verify", first}).out,
              AllOf(HasSubstr("proved: 2 tasks, rank 1 of 2"), HasSubstr("all 2 ranks")));
  EXPECT_EQ(Run({"verify", folder_ + "/job"}).code, 0);
  plan::Plan other = sender;
  other.mutable_channels(0)->set_slots(1);
  Write("job/rank0", PrintPlan(other));
  const Said refused = Run({"verify", folder_ + "/job"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("refused: "), HasSubstr("reshard.1/0>1"),
                                 HasSubstr("at model.py:20")));
}

TEST_F(PlanToolTest, AnalysesWhatIsProved) {
  plan::Plan plan = Pipeline().Build();
  EXPECT_THAT(Run({"analyse", Write("a", PrintPlan(plan))}).out,
              AllOf(HasSubstr("cpu:1"), HasSubstr("bottleneck")));
  plan.mutable_registers(1)->set_slots(1);
  const Said refused = Run({"analyse", Write("b", PrintPlan(plan))});
  EXPECT_EQ(refused.code, 1);
  EXPECT_EQ(refused.out, "");
  EXPECT_THAT(refused.err, HasSubstr("2 slots of register 1"));
}

TEST_F(PlanToolTest, MutatesAndTellsWhatWasSeen) {
  const Said said =
      Run({"mutate", "--seed=3", "--per-kind=2", Write("a", PrintPlan(Pipeline().Build()))});
  EXPECT_EQ(said.code, 0) << said.err;
  EXPECT_THAT(said.out,
              AllOf(HasSubstr("harmful   credit too few"), HasSubstr("harmless  renumbered")));
}

TEST_F(PlanToolTest, RefusesWhatItDoesNotUnderstand) {
  EXPECT_EQ(Run({}).code, 2);
  EXPECT_EQ(Run({"dance", "x"}).code, 2);
  EXPECT_EQ(Run({"verify"}).code, 2);
  EXPECT_EQ(Run({"verify", "--seed=x", "y"}).code, 2);
  EXPECT_EQ(Run({"verify", folder_ + "/nothing"}).code, 2);
  EXPECT_EQ(Run({"verify", folder_}).code, 2);  // empty
  EXPECT_EQ(Run({"verify", Write("empty", "")}).code, 2);
  EXPECT_THAT(Run({"verify", Write("zeros", std::string(64, '\0'))}).err, HasSubstr("is no plan"));
  EXPECT_EQ(Run({"help"}).code, 0);
}

TEST_F(PlanToolTest, SurvivesDamagedFiles) {
  std::mt19937 random(11);
  const std::vector<std::string> sources = {
      Pipeline().Build().SerializeAsString(), PrintPlan(Ring().Build()),
      Ring(2).Build().SerializeAsString(), PrintPlan(Transfer().second)};
  int usable = 0;
  for (int round = 0; round < 800; ++round) {
    std::string bytes = sources[random() % sources.size()];
    for (uint32_t i = 0; i < 1 + random() % 3; ++i)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    const std::string path = Write("damaged", bytes);
    for (const char* command : {"print", "verify", "analyse"}) {
      const int code = Run({command, path}).code;
      EXPECT_TRUE(code >= 0 && code <= 2);
      usable += code < 2 ? 1 : 0;
    }
  }
  EXPECT_GT(usable, 200);
}

}  // namespace
}  // namespace oneflow
