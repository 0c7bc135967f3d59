#include "base/location.h"

namespace oneflow {

std::string Location::Short() const {
  if (!known()) return "?";
  const size_t slash = file.rfind('/');
  return (slash == std::string::npos ? file : file.substr(slash + 1)) + ":" + std::to_string(line);
}

}  // namespace oneflow
