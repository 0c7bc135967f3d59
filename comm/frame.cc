#include "comm/frame.h"

#include "absl/strings/str_cat.h"

namespace oneflow::comm {

std::string WrongLength(const FrameHeader& header) {
  const auto longer = [&](const char* what, uint64_t limit) {
    if (header.bytes <= limit) return std::string();
    return absl::StrCat(what, " of ", header.bytes, " bytes; at most ", limit, " may come");
  };
  switch (header.frame_type()) {
    case FrameType::kData:
      return "";
    case FrameType::kCredit:
      return longer("a credit", 0);
    case FrameType::kWritten:
      return longer("word of a message in shared memory", 0);
    case FrameType::kControl:
      return longer("a control frame", kLongestControl);
    case FrameType::kAbort:
      return longer("an abort", kLongestAbort);
    case FrameType::kBye:
      return longer("a farewell", 0);
    case FrameType::kTaken:
      return longer("word of a message that was taken", 0);
    case FrameType::kStop:
      return header.bytes == sizeof(uint64_t) ? "" : "a word of where to stop without its number";
  }
  return absl::StrCat("a frame of the unknown type ", header.type);
}

}  // namespace oneflow::comm
