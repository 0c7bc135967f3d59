#include "base/text.h"

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "gtest/gtest.h"

namespace oneflow {
namespace {

TEST(TextTest, FloatsAreToldApartFromIntegers) {
  EXPECT_EQ(FloatText(1), "1.0");
  EXPECT_EQ(FloatText(-0.0), "-0.0");
  EXPECT_EQ(FloatText(0.1), "0.1");
  EXPECT_EQ(FloatText(1e-5), "1e-05");
  EXPECT_EQ(FloatText(1e22), "1e+22");
  EXPECT_EQ(FloatText(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(FloatText(-std::numeric_limits<double>::infinity()), "-inf");
  EXPECT_EQ(FloatText(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(FloatText(std::bit_cast<double>(uint64_t{0x7ff8000000000001})), "nan:7ff8000000000001");
}

TEST(TextTest, FloatsParseBackToTheSameBits) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const double value = std::bit_cast<double>(random());
    const auto parsed = ParseFloat(FloatText(value));
    ASSERT_TRUE(parsed.has_value()) << FloatText(value);
    ASSERT_EQ(std::bit_cast<uint64_t>(*parsed), std::bit_cast<uint64_t>(value));
  }
}

TEST(TextTest, RefusesWhatIsNoFloat) {
  for (const char* bad :
       {"", "x", "1.0x", " 1", "1e999", "NaN", "infinity", "nan:", "nan:0000000000000000",
        "nan:7ff800000000000g", "nan:7ff80000000000011"}) {
    EXPECT_FALSE(ParseFloat(bad).has_value()) << bad;
  }
  EXPECT_EQ(ParseFloat("3"), 3.0);
}

TEST(TextTest, IntegersAreCheckedForOverflow) {
  EXPECT_EQ(ParseInt("-9223372036854775808"), std::numeric_limits<int64_t>::min());
  EXPECT_FALSE(ParseInt("9223372036854775808").has_value());
  EXPECT_EQ(ParseUnsigned("18446744073709551615"), std::numeric_limits<uint64_t>::max());
  EXPECT_FALSE(ParseUnsigned("18446744073709551616").has_value());
  EXPECT_FALSE(ParseUnsigned("-1").has_value());
  for (const char* bad : {"", "-", "1 ", "0x1", "1.0", "+1"})
    EXPECT_FALSE(ParseInt(bad).has_value()) << bad;
}

TEST(TextTest, QuotedStringsComeBack) {
  EXPECT_EQ(Quoted("a\"b\\c\n\t\r\x01\x7f\xff \xc3\xa9"),
            "\"a\\\"b\\\\c\\n\\t\\r\\x01\\x7f\\xff \xc3\xa9\"");
  std::mt19937 random(2);
  for (int i = 0; i < 5000; ++i) {
    std::string text(random() % 12, '\0');
    for (char& c : text) c = static_cast<char>(random());
    const std::string quoted = "x" + Quoted(text) + "y";
    EXPECT_TRUE(IsUtf8(quoted));
    size_t position = 1;
    const auto parsed = ParseQuoted(quoted, &position);
    ASSERT_TRUE(parsed.has_value()) << quoted;
    ASSERT_EQ(*parsed, text);
    ASSERT_EQ(position, quoted.size() - 1);
  }
}

TEST(TextTest, RefusesWhatIsNotQuoted) {
  for (const char* bad :
       {"", "a", "\"", "\"a", "\"\\\"", "\"\\q\"", "\"\\x1\"", "\"\\xg0\"", "\"\n\"", "\"\\"}) {
    size_t position = 0;
    EXPECT_FALSE(ParseQuoted(bad, &position).has_value()) << bad;
  }
}

TEST(TextTest, KnowsUtf8) {
  EXPECT_TRUE(IsUtf8(""));
  EXPECT_TRUE(IsUtf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"));
  for (const char* bad : {"\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80",
                          "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xff", "\xe2\x82"}) {
    EXPECT_FALSE(IsUtf8(bad));
  }
}

TEST(TextTest, BytesForPeople) {
  EXPECT_EQ(BytesText(0), "0 B");
  EXPECT_EQ(BytesText(1023), "1023 B");
  EXPECT_EQ(BytesText(1024), "1.0 KiB");
  EXPECT_EQ(BytesText(64 << 10), "64.0 KiB");
  EXPECT_EQ(BytesText(17196647), "16.4 MiB");
  EXPECT_EQ(BytesText(std::numeric_limits<int64_t>::max()), "7.9 EiB");
  EXPECT_EQ(BytesText(-2048), "-2.0 KiB");
}

}  // namespace
}  // namespace oneflow
