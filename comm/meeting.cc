#include "comm/meeting.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "comm/blame.h"

namespace oneflow::comm {

const char* NameOf(PathChoice choice) {
  switch (choice) {
    case PathChoice::kTcp:
      return "tcp";
    case PathChoice::kAuto:
      return "auto";
    case PathChoice::kShared:
      return "shm";
    case PathChoice::kRdma:
      return "rdma";
  }
  return "";
}

void Write(PathChoice choice, ByteWriter* writer) {
  writer->Integer(static_cast<uint64_t>(choice));
}

PathChoice ReadChoice(ByteReader* reader) {
  const uint64_t said = reader->Integer();
  if (said > static_cast<uint64_t>(PathChoice::kRdma)) reader->ok = false;
  return static_cast<PathChoice>(said);
}

bool Wants(PathChoice choice, PathChoice way) {
  return choice == PathChoice::kAuto || choice == way;
}

std::string WhyNot(PathChoice way, const Stance& own, const Stance& other, size_t rank) {
  if (!Wants(own.choice, way)) return absl::StrCat("ONEFLOW_TRANSPORT=", NameOf(own.choice));
  if (!Wants(other.choice, way)) {
    return absl::StrCat("ONEFLOW_TRANSPORT=", NameOf(other.choice), " on rank ", rank);
  }
  if (!own.why_not.empty()) return own.why_not;
  if (!other.why_not.empty()) return absl::StrCat("rank ", rank, ": ", other.why_not);
  return "";
}

absl::StatusOr<std::vector<std::vector<std::string>>> ExchangeReasons(
    const std::vector<std::string>& reasons, const AllGatherFn& all_gather) {
  ByteWriter writer;
  for (const std::string& reason : reasons) writer.Text(reason);
  OF_ASSIGN_OR_RETURN(const std::vector<std::string> said, all_gather(writer.bytes));
  std::vector<std::vector<std::string>> all(said.size());
  for (size_t r = 0; r < said.size(); ++r) {
    ByteReader reader(said[r]);
    for (size_t other = 0; other < said.size(); ++other) all[r].push_back(reader.Text());
    if (!reader.ok || !reader.done()) return BrokeMeeting(r);
  }
  return all;
}

absl::Status BrokeMeeting(size_t rank) {
  return PeerFailure(static_cast<int>(rank),
                     absl::StrCat("rank ", rank, " broke the protocol: what it says of how it is ",
                                  "reached is cut or malformed"));
}

}  // namespace oneflow::comm
