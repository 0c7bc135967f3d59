#include "compiler/ops/window.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace oneflow {
namespace {

absl::Status CheckPair(const std::string& op, const std::string& name,
                       const std::vector<int64_t>& pair, int64_t least) {
  // The upper bound keeps the arithmetic of extents in int64.
  constexpr int64_t kMost = int64_t{1} << 30;
  if (pair.size() == 2 && pair[0] >= least && pair[0] <= kMost && pair[1] >= least &&
      pair[1] <= kMost) {
    return absl::OkStatus();
  }
  return MakeError(ErrorKind::kShape,
                   absl::StrCat(op, ": ", name, " is ", ToString(pair),
                                " but must be two numbers >= ", least, ", height and width"));
}

}  // namespace

absl::StatusOr<Window> WindowFromAttrs(const std::string& op, const Attrs& attrs,
                                       std::vector<int64_t> kernel) {
  Window window;
  window.kernel = std::move(kernel);
  window.stride = attrs.Ints("stride");
  window.padding = attrs.Ints("padding");
  window.dilation = attrs.Has("dilation") ? attrs.Ints("dilation") : std::vector<int64_t>{1, 1};
  OF_RETURN_IF_ERROR(CheckPair(op, "the kernel", window.kernel, 1));
  OF_RETURN_IF_ERROR(CheckPair(op, "stride", window.stride, 1));
  OF_RETURN_IF_ERROR(CheckPair(op, "padding", window.padding, 0));
  OF_RETURN_IF_ERROR(CheckPair(op, "dilation", window.dilation, 1));
  return window;
}

absl::StatusOr<std::vector<int64_t>> WindowExtents(const std::string& op, const Window& window,
                                                   const TensorType& image) {
  std::vector<int64_t> extents;
  for (size_t i = 0; i < 2; ++i) {
    const int64_t padded = image.shape[1 + i] + 2 * window.padding[i];
    const int64_t covered = window.dilation[i] * (window.kernel[i] - 1) + 1;
    if (covered > padded) {
      return MakeError(
          ErrorKind::kShape,
          absl::StrCat(op, ": the image is ", image.ToString(), " (n, h, w, c) and its ",
                       i == 0 ? "height" : "width", " with padding is ", padded,
                       ", smaller than the window of ", covered,
                       ": use a larger image, more padding or a smaller kernel"));
    }
    extents.push_back((padded - covered) / window.stride[i] + 1);
  }
  return extents;
}

}  // namespace oneflow
