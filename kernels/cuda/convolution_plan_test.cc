// Plans of convolutions: made once, counted, released; the workspace that they are given; filters turned for a library.
#include <memory>
#include <vector>

#include "base/status.h"
#include "kernels/cuda/convolution_space.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/device_bytes_for_test.h"
#include "kernels/cuda/filter_layout.h"
#include "kernels/cuda/specs_by_hand.h"
#include "kernels/kernel.h"

namespace oneflow::kernels {
namespace {

KernelSpec Forward(DType dtype, int64_t images, const Shape& weight) {
  const Attrs attrs = {{"stride", int64_t{1}}, {"padding", int64_t{1}}, {"dilation", int64_t{1}}};
  const int64_t out = 4 + 2 - weight[2] + 1;
  return {"conv2d",
          attrs,
          {WholeOperand(dtype, {images, 4, 4, weight[1]}), WholeOperand(dtype, weight)},
          {WholeOperand(dtype, {images, out, out, weight[0]})},
          1};
}
CudaConvolutionPlans Plans() {
  CudaConvolutionPlans plans = {};
  SoftCudaApi()->convolution_plans(&plans);
  return plans;
}

TEST(CudaConvolutionPlans, AreMadeOnceAndReleasedWithTheirKernel) {
  const KernelTable table = CudaKernels(SoftCudaApi());
  const CudaConvolutionPlans before = Plans();
  {
    const auto kernel = table.Make(Forward(DType::kF32, 2, {8, 3, 3, 3}));
    ASSERT_TRUE(kernel.ok()) << MessageOf(kernel.status());
    EXPECT_EQ(Plans().live, before.live + 1);
    EXPECT_EQ(Plans().own, before.own + 1);  // software CUDA has no cuDNN
    EXPECT_EQ(Plans().library, 0);
    EXPECT_STREQ(Plans().latest, "own kernel");
  }
  EXPECT_EQ(Plans().live, before.live);
  EXPECT_EQ(Plans().own, before.own + 1);
  // Nothing is left of what was refused.
  EXPECT_FALSE(table.Make(Forward(DType::kF64, 2, {8, 3, 3, 3})).ok());
  EXPECT_EQ(Plans().live, before.live);
}

// Any of the two may serve: the plan was compiled where nobody knew which.
TEST(CudaConvolutionPlans, HaveRoomForALibrarysEngineAndForOwnShares) {
  const auto bytes = [](const KernelSpec& spec) {
    const absl::StatusOr<Needs> needs = CudaDescriptions().Describe(spec);
    EXPECT_TRUE(needs.ok()) << MessageOf(needs.status());
    return needs->workspace_bytes;
  };
  const int64_t engine = kSumBudget + kLibraryAlignment;
  // 16 filters of 72 elements, turned; of one tap, and of one channel, they lie as they should.
  EXPECT_EQ(bytes(Forward(DType::kBF16, 2, {16, 8, 3, 3})), engine + 16 * 72 * 2);
  EXPECT_EQ(bytes(Forward(DType::kF16, 2, {16, 8, 1, 1})), engine);
  // 32 pixels of 3 channels, which an engine makes 8; f32 images, whose channels it brings to the front.
  EXPECT_EQ(bytes(Forward(DType::kBF16, 2, {16, 3, 1, 1})), engine + 32 * 8 * 2);
  EXPECT_EQ(bytes(Forward(DType::kF32, 2, {8, 8, 3, 3})),
            engine + 8 * 72 * 4 + 32 * 8 * 4 + 32 * 8 * 4);
  EXPECT_EQ(bytes(Forward(DType::kF32, 0, {8, 3, 3, 3})), 0);
}

template <typename Bits>
void TurnThereAndBack(DType dtype, int64_t k, int64_t c, int64_t r, int64_t s) {
  CudaConvolution p = {};
  p.dtype = static_cast<int32_t>(dtype);
  p.k = k;
  p.groups = 2;
  p.c = 2 * c;
  p.r = r;
  p.s = s;
  const size_t elements = static_cast<size_t>(k * c * r * s);
  std::vector<Bits> filters(elements);
  for (size_t i = 0; i < elements; ++i) filters[i] = static_cast<Bits>(i * 7 + 3);
  const CudaApi* api = SoftCudaApi();
  const int64_t bytes = static_cast<int64_t>(elements * sizeof(Bits));
  DeviceBytes first(api, bytes), last(api, bytes), again(api, bytes);
  first.Write(filters.data());
  const auto stream = CudaStream::Make(api);
  ASSERT_TRUE(stream.ok());
  ASSERT_EQ(FiltersChannelsLast(p, first.data(), last.data(), (*stream)->handle()), 0);
  ASSERT_EQ(FiltersChannelsFirst(p, last.data(), again.data(), (*stream)->handle()), 0);
  (*stream)->Drain();
  const std::vector<unsigned char> turned_bytes = last.Read();
  const Bits* turned = reinterpret_cast<const Bits*>(turned_bytes.data());
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t channel = 0; channel < c; ++channel) {
      for (int64_t tap = 0; tap < r * s; ++tap) {
        ASSERT_EQ(turned[(i * r * s + tap) * c + channel],
                  filters[static_cast<size_t>((i * c + channel) * r * s + tap)])
            << "filter " << i << " channel " << channel << " tap " << tap;
      }
    }
  }
  EXPECT_EQ(again.Read(), first.Read());
}
TEST(CudaConvolutionPlans, TurnFiltersForTensorCoresAndGradientsBack) {
  TurnThereAndBack<uint32_t>(DType::kF32, 5, 7, 3, 2);
  TurnThereAndBack<uint16_t>(DType::kBF16, 3, 40, 3, 3);
  TurnThereAndBack<uint16_t>(DType::kF16, 2, 1, 7, 7);
  TurnThereAndBack<uint16_t>(DType::kBF16, 2, 9, 1, 600);  // more taps than threads
}

}  // namespace
}  // namespace oneflow::kernels
