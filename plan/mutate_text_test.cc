#include "plan/mutate_text.h"

#include <set>

#include "gtest/gtest.h"
#include "plan/plans_for_test.h"
#include "plan/text.h"

namespace oneflow {
namespace {

int Differences(const std::string& a, const std::string& b) {
  int lines = 0;
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    const size_t i_end = a.find('\n', i), j_end = b.find('\n', j);
    lines += a.compare(i, i_end - i, b, j, j_end - j) != 0 ? 1 : 0;
    i = i_end + 1;
    j = j_end + 1;
  }
  return lines;
}

TEST(TextMutator, ChangesAsManyTokensAsAskedAndSaysWhich) {
  TrainingStep step;
  const plan::Plan plan = step.Build();
  const std::string text = PrintPlan(plan);
  const TextMutator mutator(plan, text);
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const TextMutation one = mutator.Mutate(seed, 1);
    ASSERT_EQ(one.changes.size(), 1u);
    EXPECT_NE(one.text, text);
    EXPECT_EQ(Differences(one.text, text), 1) << one.changes[0].text;
    EXPECT_NE(one.changes[0].before, one.changes[0].after);
    EXPECT_NE(one.text.find(one.changes[0].text + "\n"), std::string::npos);
    EXPECT_EQ(mutator.Mutate(seed, 1).text, one.text);
    EXPECT_EQ(mutator.Mutate(seed, 2).changes.size(), 2u);
  }
}

TEST(TextMutator, ReachesEveryKindOfItemAndLeavesCommentsAlone) {
  TrainingStep step;
  const plan::Plan plan = step.Build();
  const TextMutator mutator(plan, PrintPlan(plan));
  std::set<std::string> items;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    const TextMutation mutation = mutator.Mutate(seed, 1);
    const std::string& item = mutation.changes[0].item;
    items.insert(item.substr(0, item.find(' ')));
    const std::string& line = mutation.changes[0].text;
    EXPECT_LT(line.find(mutation.changes[0].after), line.find('#'));
  }
  for (const char* item : {"plan", "mesh", "device", "state", "input", "output", "location",
                           "stream", "register", "task"}) {
    EXPECT_TRUE(items.contains(item)) << item;
  }
}

TEST(TextMutator, NamesTheItemAndWhatStandsAtItsOtherEnds) {
  TrainingStep step;
  const plan::Plan plan = step.Build();
  const TextMutator mutator(plan, PrintPlan(plan));
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    const TextMutation mutation = mutator.Mutate(seed, 1);
    if (mutation.changes[0].item != "register 0") continue;
    EXPECT_TRUE(NamesChange("well formed: register 0 (of feed.0): no", mutation));
    EXPECT_TRUE(NamesChange("feed.0 reads too much", mutation));
    EXPECT_FALSE(NamesChange("register 00 of xfeed.0", mutation));
    EXPECT_FALSE(NamesChange("something is wrong", mutation));
    return;
  }
  FAIL() << "no change met register 0";
}

}  // namespace
}  // namespace oneflow
