#include "kernels/cpu/dropout_mask.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/hash.h"
#include "kernels/cpu/definition.h"

namespace oneflow::kernels {
namespace {

uint64_t KeyAttr(const Attrs& attrs, const std::string& name) {
  const std::string* text = attrs.Find<std::string>(name);
  return text == nullptr ? static_cast<uint64_t>(attrs.Int(name)) : HashBytes(*text);
}

}  // namespace

uint64_t StreamKey(const Attrs& attrs) {
  return PhiloxKey(KeyAttr(attrs, "seed"), KeyAttr(attrs, "key"));
}

DropoutMask DropoutMask::Of(const Attrs& attrs) {
  const double p = NumberAttr(attrs, "p");
  const bool drops_all = p >= 1;
  const double threshold = std::nearbyint(std::clamp(p, 0.0, 1.0) * 4294967296.0);
  return {StreamKey(attrs),
          drops_all ? 0 : static_cast<uint32_t>(std::min(threshold, 4294967295.0)),
          drops_all ? 0.0f : static_cast<float>(1.0 / (1.0 - p))};
}

SpecCheck& CheckDropoutAttrs(SpecCheck* check) {
  const double p = check->Number("p");
  check->Require(p >= 0 && p <= 1, "p is a probability");
  return check->IntOrText("seed").IntOrText("key");
}

}  // namespace oneflow::kernels
