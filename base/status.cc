#include "base/status.h"

#include <string>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace oneflow {
namespace {

constexpr char kKindUrl[] = "oneflow/kind";
constexpr char kLocationUrl[] = "oneflow/location";

absl::StatusCode CodeOf(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kOutOfMemory:
      return absl::StatusCode::kResourceExhausted;
    case ErrorKind::kPeer:
      return absl::StatusCode::kUnavailable;
    case ErrorKind::kPlan:
      return absl::StatusCode::kFailedPrecondition;
    case ErrorKind::kData:
    case ErrorKind::kCheckpoint:
      return absl::StatusCode::kDataLoss;
    default:
      return absl::StatusCode::kInvalidArgument;
  }
}

}  // namespace

absl::Status MakeError(ErrorKind kind, const std::string& message, const Location& location) {
  absl::Status status(CodeOf(kind), message);
  status.SetPayload(kKindUrl, absl::Cord(absl::StrCat(static_cast<int>(kind))));
  return WithLocation(std::move(status), location);
}

ErrorKind KindOf(const absl::Status& status) {
  int kind = 0;
  if (auto payload = status.GetPayload(kKindUrl); payload.has_value()) {
    if (!absl::SimpleAtoi(std::string(*payload), &kind)) kind = 0;
  }
  return static_cast<ErrorKind>(kind);
}

std::optional<Location> LocationOf(const absl::Status& status) {
  auto payload = status.GetPayload(kLocationUrl);
  if (!payload.has_value()) return std::nullopt;
  const std::vector<std::string> parts = absl::StrSplit(std::string(*payload), '\n');
  Location location;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[1], &location.line)) return std::nullopt;
  location.file = parts[0];
  location.function = parts[2];
  return location;
}

absl::Status WithLocation(absl::Status status, const Location& location) {
  if (status.ok() || !location.known() || status.GetPayload(kLocationUrl).has_value()) {
    return status;
  }
  status.SetPayload(kLocationUrl, absl::Cord(absl::StrCat(location.file, "\n", location.line, "\n",
                                                          location.function)));
  return status;
}

absl::Status WithContext(const absl::Status& status, const std::string& context) {
  if (status.ok()) return status;
  absl::Status result(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { result.SetPayload(url, payload); });
  return result;
}

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

}  // namespace oneflow
