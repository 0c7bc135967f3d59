// CombineAll against Combine from one buffer to the next, bit by bit.
#include "kernels/cpu/combine.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/dtype.h"
#include "base/shape.h"
#include "kernels/cpu/denormals.h"

namespace oneflow::kernels {
namespace {

using Bytes = std::vector<std::byte>;

// Numbers of any sign and size below 2, none of them NaN.
Bytes RandomNumbers(DType dtype, int64_t elements, uint32_t seed) {
  Bytes bytes(static_cast<size_t>(elements * SizeOf(dtype)));
  uint64_t state = seed;
  for (size_t i = 0; i < bytes.size(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    bytes[i] = static_cast<std::byte>(state >> 40);
    const bool is_highest = (i + 1) % static_cast<size_t>(SizeOf(dtype)) == 0;
    if (is_highest) bytes[i] &= std::byte{0xBF};  // no large exponents
  }
  return bytes;
}

TEST(CombineAllTest, GivesAllBuffersWhatGoingRoundWould) {
  constexpr int64_t kBefore = 3, kBehind = 5;
  const FlushDenormals flush;  // as every kernel
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI32}) {
    for (const CombineMode mode : {CombineMode::kSum, CombineMode::kMax, CombineMode::kMin}) {
      for (const uint32_t count : {2, 3, 5}) {
        // Less than a block, several and a part of one; streamed, by one thread and by two.
        for (const int64_t elements : {int64_t{1}, int64_t{4099}, int64_t{140'001}}) {
          const int64_t all = kBefore + elements + kBehind;
          std::vector<Bytes> round, buffers;
          for (uint32_t i = 0; i < count; ++i) {
            round.push_back(RandomNumbers(dtype, all, i + 1));
          }
          buffers = round;
          const StridedCopy piece =
              StridedCopy::Region(dtype, {elements}, {all}, {kBefore}, {all}, {kBefore});
          for (uint32_t i = 1; i < count; ++i) {
            Combine(mode, piece, round[i - 1].data(), round[i].data(), 1);
          }
          std::vector<void*> places;
          for (Bytes& buffer : buffers) places.push_back(buffer.data());
          CombineAll(mode, dtype, places.data(), count, kBefore, elements, 2);
          const size_t begin = static_cast<size_t>(kBefore * SizeOf(dtype));
          const size_t size = static_cast<size_t>(elements * SizeOf(dtype));
          for (uint32_t i = 0; i < count; ++i) {
            Bytes expected = RandomNumbers(dtype, all, i + 1);  // around the piece
            std::memcpy(expected.data() + begin, round[count - 1].data() + begin, size);
            EXPECT_EQ(buffers[i], expected)
                << NameOf(dtype) << " of " << elements << ", buffer " << i << " of " << count;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace oneflow::kernels
