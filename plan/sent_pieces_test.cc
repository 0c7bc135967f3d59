#include "plan/sent_pieces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"
#include "plan/attrs.h"

namespace oneflow {
namespace {

using testing::HasSubstr;

plan::Task Send(const std::vector<int64_t>& shape, int64_t dim, int64_t units, int64_t parts,
                int64_t base, int64_t pieces, uint32_t chunks) {
  plan::Task task;
  task.set_kind(plan::SEND);
  task.set_level(plan::CHUNK);
  task.set_chunks(chunks);
  plan::TensorTypeProto* type = task.add_inputs()->mutable_type();
  type->set_dtype(static_cast<plan::DTypeProto>(DType::kF32));
  for (const int64_t extent : shape) type->add_shape(extent);
  Attrs attrs = {{"dim", dim}, {"units", units}, {"parts", parts}, {"base", base}};
  if (pieces != 1) attrs.Set("pieces", pieces);
  attrs.ToProto(task.mutable_attrs());
  return task;
}

TEST(SentPieces, AreThoseOfTheSharesThatGoRound) {
  // Two shares of 6 floats, in threes: share 1, then share 0, and round again.
  const plan::Task send = Send({12}, 0, 12, 2, 1, 2, 6);
  EXPECT_TRUE(SendsPieces(send));
  const absl::StatusOr<SentPieces> sent = SentPiecesOf(send);
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_EQ(sent->bytes, 12);
  EXPECT_EQ(sent->offsets, (std::vector<int64_t>{24, 36, 0, 12, 24, 36}));
  // Whole shares of rows, behind a dim of one.
  const absl::StatusOr<SentPieces> rows = SentPiecesOf(Send({1, 6, 5}, 1, 3, 3, 0, 1, 2));
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->bytes, 40);
  EXPECT_EQ(rows->offsets, (std::vector<int64_t>{0, 80}));
}

TEST(SentPieces, ASendWithoutAttributesSendsItsRegister) {
  plan::Task send = Send({12}, 0, 12, 2, 1, 2, 6);
  send.clear_attrs();
  EXPECT_FALSE(SendsPieces(send));
}

TEST(SentPieces, WhatIsNoEqualStretchIsRefused) {
  const auto why = [](const plan::Task& send) { return MessageOf(SentPiecesOf(send).status()); };
  EXPECT_THAT(why(Send({12}, 0, 12, 5, 0, 1, 8)), HasSubstr("unequal pieces"));
  EXPECT_THAT(why(Send({12}, 0, 12, 2, 0, 4, 8)), HasSubstr("unequal pieces"));
  EXPECT_THAT(why(Send({12}, 0, 8, 2, 0, 1, 8)), HasSubstr("unequal pieces"));
  EXPECT_THAT(why(Send({2, 12}, 1, 12, 2, 0, 1, 8)), HasSubstr("no stretch of memory"));
  EXPECT_THAT(why(Send({12}, 1, 12, 2, 0, 1, 8)), HasSubstr("no dim from 0 to 0"));
  EXPECT_THAT(why(Send({12}, 0, 12, 2, 2, 1, 8)), HasSubstr("no base from 0 to 1"));
  EXPECT_THAT(why(Send({12}, 0, 12, 2, 0, 7, 8)), HasSubstr("no pieces from 1 to 6"));
  EXPECT_THAT(why(Send({12}, 0, 12, 2, 0, 0, 8)), HasSubstr("no pieces from 1 to 6"));
  EXPECT_THAT(why(Send({12}, 0, 13, 2, 0, 1, 8)), HasSubstr("no units from 1 to 12"));
  EXPECT_THAT(why(Send({}, 0, 12, 2, 0, 1, 8)), HasSubstr("no dim"));
  plan::Task whole = Send({12}, 0, 12, 2, 0, 1, 8);
  whole.set_level(plan::STEP);
  EXPECT_THAT(why(whole), HasSubstr("outside of a chunk loop"));
}

}  // namespace
}  // namespace oneflow
