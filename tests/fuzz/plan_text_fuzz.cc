// Any bytes as the text of a plan: ParsePlan is total, what it accepts prints and parses back, and
// the verifier takes whatever plan comes out.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "plan/text.h"
#include "plan/verify.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto plan = oneflow::ParsePlan(std::string(reinterpret_cast<const char*>(data), size));
  if (!plan.ok()) return 0;
  const std::string printed = oneflow::PrintPlan(*plan);
  const auto again = oneflow::ParsePlan(printed);
  OF_CHECK(again.ok()) << again.status().ToString() << "\n" << printed;
  OF_CHECK(again->SerializeAsString() == plan->SerializeAsString()) << printed;
  OF_CHECK(oneflow::Fingerprint(*again) == oneflow::Fingerprint(*plan)) << printed;
  (void)oneflow::VerifyPlan(*plan);
  return 0;
}
