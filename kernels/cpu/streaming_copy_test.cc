#include "kernels/cpu/streaming_copy.h"

#include <gtest/gtest.h>

#include <vector>

namespace oneflow::kernels {
namespace {

TEST(StreamingCopyTest, CopiesAllBytesAndNoOthers) {
  for (const size_t bytes : {0, 1, 63, 64, 65, 127, 128, 191, 4096, 4097}) {
    for (const size_t to : {0, 1, 63}) {
      for (const size_t from : {0, 3}) {
        std::vector<std::byte> source(bytes + from + 1);  // of nothing, too, it has an address
        for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::byte>(i * 7 + 1);
        std::vector<std::byte> target(to + bytes + 64);
        StreamingCopy(target.data() + to, source.data() + from, bytes);
        std::vector<std::byte> expected(to + bytes + 64);
        for (size_t i = 0; i < bytes; ++i) expected[to + i] = source[from + i];
        EXPECT_EQ(target, expected) << bytes << " bytes to " << to << " from " << from;
      }
    }
  }
}

}  // namespace
}  // namespace oneflow::kernels
