#include "runtime/io/region.h"

#include <cstring>

#include "base/check.h"

namespace oneflow {

RegionCopy::RegionCopy(const Shape& logical, const Shape& begin, const Shape& extent,
                       int64_t element_bytes)
    : bytes_(NumElements(extent) * element_bytes) {
  OF_CHECK(logical.size() == begin.size() && logical.size() == extent.size())
      << "region " << ToString(extent) << " of " << ToString(logical);
  if (bytes_ == 0) return;
  // From the innermost dim outwards: as long as the dims inside are whole, the run grows.
  run_bytes_ = element_bytes;
  int64_t stride = element_bytes;
  bool contiguous = true;
  std::vector<Dim> outer;
  for (size_t i = logical.size(); i-- > 0;) {
    OF_CHECK(begin[i] >= 0 && begin[i] + extent[i] <= logical[i])
        << "region " << ToString(extent) << " at " << ToString(begin) << " of "
        << ToString(logical);
    offset_ += begin[i] * stride;
    if (contiguous) {
      run_bytes_ *= extent[i];
      contiguous = extent[i] == logical[i];
    } else {
      outer.push_back({extent[i], stride});
    }
    stride *= logical[i];
  }
  outer_.assign(outer.rbegin(), outer.rend());
}

template <bool kToLocal>
std::byte* RegionCopy::Walk(size_t dim, std::byte* logical, std::byte* local) const {
  if (dim == outer_.size()) {
    if constexpr (kToLocal) {
      std::memcpy(local, logical, static_cast<size_t>(run_bytes_));
    } else {
      std::memcpy(logical, local, static_cast<size_t>(run_bytes_));
    }
    return local + run_bytes_;
  }
  for (int64_t i = 0; i < outer_[dim].extent; ++i) {
    local = Walk<kToLocal>(dim + 1, logical + i * outer_[dim].stride, local);
  }
  return local;
}

void RegionCopy::ToLocal(const std::byte* logical, std::byte* local) const {
  // Walk<true> only reads the logical tensor.
  if (bytes_ > 0) Walk<true>(0, const_cast<std::byte*>(logical) + offset_, local);
}

void RegionCopy::FromLocal(std::byte* logical, const std::byte* local) const {
  if (bytes_ > 0) Walk<false>(0, logical + offset_, const_cast<std::byte*>(local));
}

}  // namespace oneflow
