#include "comm/meeting.h"

#include <utility>

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

absl::StatusOr<std::vector<std::string>> ExchangeReasons(const std::vector<std::string>& reasons,
                                                         const std::string& objection,
                                                         const ExchangeFn& exchange) {
  std::vector<std::string> words;
  for (const std::string& reason : reasons) {
    ByteWriter writer;
    writer.Text(reason);
    writer.Text(objection);
    words.push_back(std::move(writer.bytes));
  }
  OF_ASSIGN_OR_RETURN(const std::vector<std::string> said, exchange(words));
  std::vector<std::string> theirs;
  std::string first;
  for (size_t r = 0; r < said.size(); ++r) {
    ByteReader reader(said[r]);
    theirs.push_back(reader.Text());
    const std::string objects = reader.Text();
    if (!reader.ok || !reader.done()) return BrokeMeeting(r);
    if (first.empty()) first = objects;
  }
  if (!first.empty()) return MakeError(ErrorKind::kPeer, first);
  return theirs;
}

std::string ObjectionOf(size_t self, const std::vector<PathChoice>& choices, PathChoice way,
                        const std::vector<std::string>& reasons,
                        const std::function<std::string(size_t, size_t)>& in_words) {
  for (size_t other = 0; other < reasons.size(); ++other) {
    if (reasons[other].empty()) continue;
    for (const size_t end : {self, other}) {
      if (choices[end] == way) return in_words(end, other);
    }
  }
  return "";
}

absl::Status BrokeMeeting(size_t rank) {
  return PeerFailure(static_cast<int>(rank),
                     absl::StrCat("rank ", rank, " broke the protocol: what it says of how it is ",
                                  "reached is cut or malformed"));
}

}  // namespace oneflow::comm
