#include "base/random.h"

#include <array>
#include <cmath>

#include "base/check.h"
#include "base/philox.h"

namespace oneflow {
namespace {

constexpr double kTwoToMinus24 = 1.0 / (1 << 24);

// value(logical index) for each element of the slice.
template <typename Value>
void FillSlice(const RandomSlice& slice, float* out, const Value& value) {
  const size_t rank = slice.logical_shape.size();
  OF_CHECK(slice.begin.size() == rank && slice.extent.size() == rank) << "ranks differ";
  const Shape strides = StridesOf(slice.logical_shape);
  Shape index(rank, 0);
  const int64_t count = NumElements(slice.extent);
  for (int64_t i = 0; i < count; ++i) {
    int64_t logical = 0;
    for (size_t d = 0; d < rank; ++d) logical += (slice.begin[d] + index[d]) * strides[d];
    out[i] = value(static_cast<uint64_t>(logical));
    for (size_t d = rank; d-- > 0;) {
      if (++index[d] < slice.extent[d]) break;
      index[d] = 0;
    }
  }
}

// The words of a stream, one block remembered: neighbours share it.
class Words {
 public:
  explicit Words(const RandomStream& stream) : key_(PhiloxKey(stream.seed, stream.key)) {}
  const std::array<uint32_t, 4>& Block(uint64_t block) {
    if (!valid_ || block != block_) words_ = PhiloxBlock(key_, 0, block);
    valid_ = true;
    block_ = block;
    return words_;
  }

 private:
  uint64_t key_;
  uint64_t block_ = 0;
  bool valid_ = false;
  std::array<uint32_t, 4> words_{};
};

}  // namespace

void FillUniform(const RandomStream& stream, const RandomSlice& slice, double low, double high,
                 float* out) {
  Words words(stream);
  const float below = std::nextafter(static_cast<float>(high), static_cast<float>(low));
  FillSlice(slice, out, [&](uint64_t index) {
    const double u = (words.Block(index / 4)[index % 4] >> 8) * kTwoToMinus24;
    const float value = static_cast<float>(low + u * (high - low));
    return value < static_cast<float>(high) ? value : below;  // rounding may reach `high`
  });
}

void FillNormal(const RandomStream& stream, const RandomSlice& slice, double mean, double stddev,
                float* out) {
  Words words(stream);
  FillSlice(slice, out, [&](uint64_t index) {
    // Words 0 and 1 of a block give elements 0 and 1, words 2 and 3 the others.
    const std::array<uint32_t, 4>& block = words.Block(index / 4);
    const size_t pair = index % 4 / 2 * 2;
    const double u = ((block[pair] >> 8) + 1) * kTwoToMinus24;  // in (0, 1]
    const double angle = 2 * M_PI * ((block[pair + 1] >> 8) * kTwoToMinus24);
    const double radius = std::sqrt(-2 * std::log(u));
    const double unit = radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
    return static_cast<float>(mean + stddev * unit);
  });
}

}  // namespace oneflow
