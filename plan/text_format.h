// What printing and parsing the text form of a plan share: the keyed fields of each item in the
// order in which they print, and the units that a sharding has when its text says none.
//
// Internal to text.cc and text_parse.cc, so that both directions read one description. Constants
// and pure functions. Threads: any. Grammar: docs/plan_format.md. Read next: plan/text.cc.
#ifndef ONEFLOW_PLAN_TEXT_FORMAT_H_
#define ONEFLOW_PLAN_TEXT_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "plan/plan.pb.h"
#include "plan/sharding.h"

namespace oneflow {
namespace text_format {

// How the value behind "key=" is written.
enum class Format {
  kText,       // matmul.3, or quoted where it is no plain name
  kInteger,    // 65536; 0 or 1 for a bool
  kHex,        // 0x1000
  kReference,  // r3: prefix and number
  kEnum,       // micro; ?7 for a number without a name
  kStamp,      // 1+2m.5.0: slot + slot_per_micro m . position . sub
};

// One "key=value" of an item.
struct KeyedField {
  const char* key;
  int number;  // of the field in the message
  Format format;
  bool always = false;  // printed even at its default
  char prefix = '\0';   // of a reference
};

// Keyed fields of one kind of item, in the order in which they print.
struct Fields {
  const KeyedField* begin_;
  size_t size_;
  const KeyedField* begin() const { return begin_; }
  const KeyedField* end() const { return begin_ + size_; }

  template <size_t kCount>
  constexpr Fields(const KeyedField (&fields)[kCount])  // NOLINT: converts on purpose
      : begin_(fields), size_(kCount) {}
};

inline constexpr KeyedField kPlanFields[] = {
    {"rank", plan::Plan::kRankFieldNumber, Format::kInteger, true},
    {"world", plan::Plan::kWorldSizeFieldNumber, Format::kInteger, true},
    {"micro_batches", plan::Plan::kMicroBatchesFieldNumber, Format::kInteger, true},
    {"target", plan::Plan::kTargetFieldNumber, Format::kText},
    {"graph", plan::Plan::kGraphFingerprintFieldNumber, Format::kHex}};
inline constexpr KeyedField kDeviceFields[] = {
    {"id", plan::DeviceProto::kIdFieldNumber, Format::kInteger, true},
    {"kind", plan::DeviceProto::kKindFieldNumber, Format::kText, true},
    {"threads", plan::DeviceProto::kThreadsFieldNumber, Format::kInteger},
    {"isa", plan::DeviceProto::kIsaFieldNumber, Format::kText},
    {"arena", plan::DeviceProto::kArenaBytesFieldNumber, Format::kInteger}};
inline constexpr KeyedField kLocationFields[] = {
    {"line", plan::LocationProto::kLineFieldNumber, Format::kInteger},
    {"function", plan::LocationProto::kFunctionFieldNumber, Format::kText}};
inline constexpr KeyedField kNodeFields[] = {
    {"hash", plan::NodeFingerprint::kHashFieldNumber, Format::kHex, true},
    {"location", plan::NodeFingerprint::kLocationFieldNumber, Format::kReference, false, 'l'}};
inline constexpr KeyedField kStreamFields[] = {
    {"device", plan::Stream::kDeviceFieldNumber, Format::kReference, true, 'd'}};
inline constexpr KeyedField kRegisterFields[] = {
    {"device", plan::Register::kDeviceFieldNumber, Format::kReference, true, 'd'},
    {"level", plan::Register::kLevelFieldNumber, Format::kEnum, true},
    {"slots", plan::Register::kSlotsFieldNumber, Format::kInteger, true},
    {"bytes", plan::Register::kBytesFieldNumber, Format::kInteger, true},
    {"at", plan::Register::kOffsetFieldNumber, Format::kHex, true},
    {"stride", plan::Register::kSlotStrideFieldNumber, Format::kInteger},
    {"in_place_of", plan::Register::kInPlaceOfFieldNumber, Format::kReference, false, 'r'}};
inline constexpr KeyedField kTaskFields[] = {
    {"op", plan::Task::kOpFieldNumber, Format::kText, true},
    {"kind", plan::Task::kKindFieldNumber, Format::kEnum, true},
    {"device", plan::Task::kDeviceFieldNumber, Format::kReference, true, 'd'},
    {"stream", plan::Task::kStreamFieldNumber, Format::kReference, true, 'q'},
    {"level", plan::Task::kLevelFieldNumber, Format::kEnum, true},
    {"chunks", plan::Task::kChunksFieldNumber, Format::kInteger},
    {"stamp", plan::Task::kStampFieldNumber, Format::kStamp},
    {"index", plan::Task::kIndexFieldNumber, Format::kInteger},
    {"channel", plan::Task::kChannelFieldNumber, Format::kReference, false, 'c'},
    {"workspace", plan::Task::kWorkspaceFieldNumber, Format::kReference, false, 'r'},
    {"may_fail", plan::Task::kMayFailFieldNumber, Format::kInteger},
    {"flops", plan::Task::kFlopsFieldNumber, Format::kInteger},
    {"bytes", plan::Task::kBytesFieldNumber, Format::kInteger},
    {"ns", plan::Task::kDurationNsFieldNumber, Format::kInteger},
    {"reshard", plan::Task::kReshardFieldNumber, Format::kText},
    {"location", plan::Task::kLocationFieldNumber, Format::kReference, false, 'l'}};
inline constexpr KeyedField kChannelFields[] = {
    {"from", plan::ChannelProto::kSourceFieldNumber, Format::kInteger, true},
    {"to", plan::ChannelProto::kDestinationFieldNumber, Format::kInteger, true},
    {"bytes", plan::ChannelProto::kBytesFieldNumber, Format::kInteger, true},
    {"slots", plan::ChannelProto::kSlotsFieldNumber, Format::kInteger, true},
    {"stamp", plan::ChannelProto::kStampFieldNumber, Format::kStamp}};

// Loops deeper than this are refused.
inline constexpr int kMaxLoopDepth = 64;

// The layout axes of a plan.
std::vector<Axis> LayoutAxesOf(const plan::Plan& plan);

// The even units of a sharding of a tensor of that rank (the canonical ones wherever a split is
// even); empty if nothing is split. The text leaves them out.
std::vector<int64_t> EvenUnits(const plan::ShardingProto& sharding, size_t rank,
                               const std::vector<Axis>& axes);

// The name of an enum value as the text has it, "?7" if it has none.
std::string EnumText(const google::protobuf::EnumDescriptor* type, int number);

// True for a name that prints without quotes: a letter or _, then letters, digits and _ . -
bool IsPlainName(const std::string& text);
inline bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
inline bool IsDigit(char c) { return c >= '0' && c <= '9'; }
inline bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c) || c == '.' || c == '-'; }

}  // namespace text_format
}  // namespace oneflow

#endif  // ONEFLOW_PLAN_TEXT_FORMAT_H_
