#include "kernels/step_block.h"

#include "absl/strings/str_cat.h"

namespace oneflow::kernels {

std::string DescribeDataError(const StepBlock& block) {
  switch (block.error()) {
    case DataErrorCode::kNone:
      return "";
    case DataErrorCode::kIndexOutOfRange:
      return absl::StrCat("index ", block.error_value, " is out of range of ", block.error_bound);
    case DataErrorCode::kLengthOutOfRange:
      return absl::StrCat("length ", block.error_value, " does not lie in 0 .. ",
                          block.error_bound);
  }
  return absl::StrCat("data error ", block.error_code, " (", block.error_value, ", ",
                      block.error_bound, ")");
}

}  // namespace oneflow::kernels
