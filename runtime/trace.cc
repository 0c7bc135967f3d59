#include "runtime/trace.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace oneflow {
namespace {

// Field numbers of perfetto.protos.
constexpr int kTracePacket = 1;
constexpr int kPacketTimestamp = 8, kPacketSequence = 10, kPacketEvent = 11, kPacketTrack = 60;
constexpr int kTrackUuid = 1, kTrackName = 2;
constexpr int kEventAnnotation = 4, kEventType = 9, kEventTrack = 11, kEventName = 23;
constexpr int kAnnotationInt = 4, kAnnotationName = 10;
constexpr uint64_t kSliceBegin = 1, kSliceEnd = 2;
constexpr uint64_t kSequence = 1;  // one writer

// Appends fields of one message in the wire format.
class MessageWriter {
 public:
  MessageWriter& Number(int field, uint64_t value) {
    Varint(static_cast<uint64_t>(field) << 3);
    Varint(value);
    return *this;
  }
  MessageWriter& Bytes(int field, const std::string& value) {
    Varint(static_cast<uint64_t>(field) << 3 | 2);
    Varint(value.size());
    bytes_ += value;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }
  std::string bytes_;
};

std::string Annotation(const std::string& name, int64_t value) {
  return MessageWriter()
      .Number(kAnnotationInt, static_cast<uint64_t>(value))
      .Bytes(kAnnotationName, name)
      .bytes();
}

}  // namespace

std::vector<TraceSlice> TraceRing::Slices() const {
  std::vector<TraceSlice> slices;
  const uint64_t kept = std::min<uint64_t>(count_, slices_.size());
  for (uint64_t i = count_ - kept; i < count_; ++i) slices.push_back(slices_[i % slices_.size()]);
  return slices;
}

std::string EncodeTrace(const std::vector<const Program*>& programs,
                        const std::vector<TraceSlice>& slices) {
  MessageWriter trace;
  std::map<std::pair<uint32_t, uint32_t>, uint64_t> tracks;  // (plan, stream)
  std::vector<std::vector<uint32_t>> stream_of(programs.size());
  for (uint32_t p = 0; p < programs.size(); ++p) {
    if (programs[p] == nullptr) continue;
    const plan::Plan& plan = programs[p]->plan();
    stream_of[p].resize(static_cast<size_t>(plan.tasks_size()));
    for (uint32_t s = 0; s < programs[p]->streams().size(); ++s) {
      if (programs[p]->streams()[s].tasks.empty()) continue;
      for (uint32_t task : programs[p]->streams()[s].tasks) stream_of[p][task] = s;
      const uint64_t uuid = (uint64_t{plan.rank()} + 1) << 40 | uint64_t{p} << 20 | (s + 1);
      tracks[{p, s}] = uuid;
      const plan::Stream& stream = plan.streams(static_cast<int>(s));
      const std::string name =
          absl::StrCat("device ", plan.devices(static_cast<int>(stream.device())).id(), " ",
                       stream.name(), " (", plan.name(), ")");
      MessageWriter track;
      track.Number(kTrackUuid, uuid).Bytes(kTrackName, name);
      MessageWriter packet;
      packet.Number(kPacketSequence, kSequence).Bytes(kPacketTrack, track.bytes());
      trace.Bytes(kTracePacket, packet.bytes());
    }
  }
  std::vector<TraceSlice> sorted = slices;
  std::stable_sort(sorted.begin(), sorted.end(), [](const TraceSlice& a, const TraceSlice& b) {
    return a.begin_ns < b.begin_ns;
  });
  for (const TraceSlice& slice : sorted) {
    const Program& program = *programs[slice.plan];
    const FiringId firing = program.FiringAt(slice.task, slice.ordinal);
    const uint64_t track = tracks.at({slice.plan, stream_of[slice.plan][slice.task]});
    MessageWriter begin;
    begin.Number(kEventType, kSliceBegin)
        .Number(kEventTrack, track)
        .Bytes(kEventName, program.plan().tasks(static_cast<int>(slice.task)).name())
        .Bytes(kEventAnnotation, Annotation("task", slice.task))
        .Bytes(kEventAnnotation, Annotation("step", firing.step))
        .Bytes(kEventAnnotation, Annotation("micro", firing.micro));
    MessageWriter end;
    end.Number(kEventType, kSliceEnd).Number(kEventTrack, track);
    MessageWriter first, last;
    first.Number(kPacketTimestamp, static_cast<uint64_t>(slice.begin_ns))
        .Number(kPacketSequence, kSequence)
        .Bytes(kPacketEvent, begin.bytes());
    last.Number(kPacketTimestamp, static_cast<uint64_t>(slice.end_ns))
        .Number(kPacketSequence, kSequence)
        .Bytes(kPacketEvent, end.bytes());
    trace.Bytes(kTracePacket, first.bytes()).Bytes(kTracePacket, last.bytes());
  }
  return trace.bytes();
}

absl::Status WriteTrace(const std::string& path, const std::vector<const Program*>& programs,
                        const std::vector<TraceSlice>& slices) {
  const std::string bytes = EncodeTrace(programs, slices);
  std::FILE* file = std::fopen(path.c_str(), "wb");
  const bool written =
      file != nullptr && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  const bool closed = file != nullptr && std::fclose(file) == 0;
  if (written && closed) return absl::OkStatus();
  return MakeError(ErrorKind::kError, absl::StrCat("cannot write the trace ", path));
}

}  // namespace oneflow
