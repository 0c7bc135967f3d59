#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace oneflow {
namespace {

TEST(Crc32cTest, KnownAnswers) {
  // RFC 3720, B.4.
  EXPECT_EQ(Crc32c(std::string(32, '\0').data(), 32), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff').data(), 32), 0x62a8ab43u);
  EXPECT_EQ(Crc32c("123456789", 9), 0xe3069283u);
}

TEST(Crc32cTest, TheInstructionAndTheTableAgreeOnAnyCut) {
  std::mt19937 random(7);
  std::string bytes(300, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    const uint32_t whole = ExtendCrc32cByTable(0, bytes.data(), bytes.size());
    EXPECT_EQ(ExtendCrc32c(Crc32c(bytes.data(), cut), bytes.data() + cut, bytes.size() - cut),
              whole);
  }
}

// Long enough to be folded, and for runs side by side of both lengths, with something left over.
TEST(Crc32cTest, AllWaysAgreeOnLongBytes) {
  std::mt19937 random(8);
  std::string bytes(30'011, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  const uint32_t whole = ExtendCrc32cByTable(0, bytes.data(), bytes.size());
  for (size_t cut = 0; cut <= bytes.size(); cut += 251) {
    const size_t left = bytes.size() - cut;
    EXPECT_EQ(ExtendCrc32c(Crc32c(bytes.data(), cut), bytes.data() + cut, left), whole);
    const uint32_t begun = ExtendCrc32cByRuns(0, bytes.data(), cut);
    EXPECT_EQ(ExtendCrc32cByRuns(begun, bytes.data() + cut, left), whole);
  }
}

}  // namespace
}  // namespace oneflow
