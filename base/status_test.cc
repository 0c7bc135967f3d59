#include "base/status.h"

#include "gtest/gtest.h"

namespace oneflow {
namespace {

const Location kLine = {"/models/mlp.py", 8, "forward"};

TEST(StatusTest, CarriesKindAndLocation) {
  const absl::Status status = MakeError(ErrorKind::kShape, "no", kLine);
  EXPECT_EQ(KindOf(status), ErrorKind::kShape);
  EXPECT_EQ(LocationOf(status), kLine);
  EXPECT_EQ(MessageOf(status), "no");
}

TEST(StatusTest, TheFirstLocationStays) {
  const absl::Status unknown = MakeError(ErrorKind::kPeer, "gone");
  EXPECT_EQ(LocationOf(unknown), std::nullopt);
  const absl::Status known = WithLocation(unknown, kLine);
  EXPECT_EQ(LocationOf(known), kLine);
  EXPECT_EQ(LocationOf(WithLocation(known, {"other.py", 1, ""})), kLine);
  EXPECT_EQ(LocationOf(WithLocation(unknown, {})), std::nullopt);
  EXPECT_TRUE(WithLocation(absl::OkStatus(), kLine).ok());
}

TEST(StatusTest, ContextKeepsPayloads) {
  const absl::Status status =
      WithContext(MakeError(ErrorKind::kOutOfMemory, "too big", kLine), "planning");
  EXPECT_EQ(MessageOf(status), "planning: too big");
  EXPECT_EQ(KindOf(status), ErrorKind::kOutOfMemory);
  EXPECT_EQ(LocationOf(status), kLine);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(WithContext(absl::OkStatus(), "planning").ok());
}

TEST(StatusTest, ForeignStatusIsAPlainError) {
  EXPECT_EQ(KindOf(absl::InternalError("x")), ErrorKind::kError);
}

absl::StatusOr<int> Half(int n) {
  if (n % 2 != 0) return MakeError(ErrorKind::kShape, "odd");
  return n / 2;
}
absl::Status Quarter(int n, int* quarter) {
  OF_ASSIGN_OR_RETURN(const int half, Half(n));
  OF_ASSIGN_OR_RETURN(*quarter, Half(half));
  OF_RETURN_IF_ERROR(absl::OkStatus());
  return absl::OkStatus();
}

TEST(StatusTest, MacrosReturnTheError) {
  int quarter = 0;
  EXPECT_TRUE(Quarter(8, &quarter).ok());
  EXPECT_EQ(quarter, 2);
  EXPECT_EQ(KindOf(Quarter(6, &quarter)), ErrorKind::kShape);
}

}  // namespace
}  // namespace oneflow
