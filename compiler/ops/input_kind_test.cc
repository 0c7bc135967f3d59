#include "compiler/ops/input_kind.h"

#include <gtest/gtest.h>

#include "base/status.h"
#include "compiler/ops/infer.h"
#include "compiler/ops/op_table.h"

namespace oneflow {
namespace {

absl::StatusOr<InputKind> KindWith(const std::string& word) {
  Attrs attrs{{"name", std::string("x")},
              {"dtype", std::string("f32")},
              {"shape", std::vector<int64_t>{4}}};
  if (!word.empty()) attrs.Set("kind", word);
  const auto types = InferOutputs(*FindOp("input"), {}, &attrs);
  if (!types.ok()) return types.status();
  return InputKindOf(attrs);
}

TEST(InputKindTest, TheSchemaPassesTheWordsThatCppReads) {
  EXPECT_EQ(*KindWith("batch"), InputKind::kBatch);
  EXPECT_EQ(*KindWith("whole"), InputKind::kWhole);
  EXPECT_EQ(*KindWith("scalar"), InputKind::kScalar);
  EXPECT_EQ(*KindWith(""), InputKind::kBatch);  // the default
  EXPECT_EQ(InputKindNames(), (std::vector<std::string>{"batch", "whole", "scalar"}));
}

TEST(InputKindTest, TheSchemaRefusesAnyOtherWord) {
  for (const char* word : {"Batch", "batch ", "scalars", "0"}) {
    EXPECT_FALSE(KindWith(word).ok()) << word;
  }
}

}  // namespace
}  // namespace oneflow
