// ParsePlan: recursive descent over the text form. Every step consumes text or fails, numbers are
// checked for overflow, ids must be the positions they stand at, and loops nest at most
// kMaxLoopDepth deep.
#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "plan/text.h"
#include "plan/text_format.h"

namespace oneflow {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::RepeatedPtrField;
using text_format::Fields;
using text_format::Format;
using text_format::KeyedField;

class PlanParser {
 public:
  explicit PlanParser(const std::string& text) : text_(text) {}

  absl::StatusOr<plan::Plan> Parse() {
    for (SkipLines(); position_ < text_.size(); SkipLines()) {
      item_ = position_;
      OF_ASSIGN_OR_RETURN(const std::string keyword, PlainName("an item such as 'task'"));
      OF_RETURN_IF_ERROR(Item(keyword));
      OF_RETURN_IF_ERROR(EndLine());
    }
    if (!has_plan_line_) return Error("the line 'plan NAME ...' is missing");
    return std::move(plan_);
  }

 private:
  // ---- lexing ----

  absl::Status ErrorAt(size_t position, const std::string& what) const {
    const std::string_view before = std::string_view(text_).substr(0, position);
    const size_t line = 1 + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
    const size_t newline = before.rfind('\n');
    const size_t column = position - (newline == std::string_view::npos ? 0 : newline + 1) + 1;
    return MakeError(ErrorKind::kPlan, "plan text, line " + std::to_string(line) + ", column " +
                                           std::to_string(column) + ": " + what);
  }
  absl::Status Error(const std::string& what) const { return ErrorAt(position_, what); }

  // Spaces and a comment, not the end of the line.
  void SkipSpaces() {
    while (position_ < text_.size() && text_[position_] == ' ') ++position_;
    if (position_ < text_.size() && text_[position_] == '#') {
      while (position_ < text_.size() && text_[position_] != '\n') ++position_;
    }
  }
  // Where the next token begins.
  size_t Here() {
    SkipSpaces();
    return position_;
  }
  void SkipLines() {
    for (SkipSpaces(); position_ < text_.size() && text_[position_] == '\n'; SkipSpaces())
      ++position_;
  }
  // The next character of this line; '\n' at its end and at the end of the text.
  char Peek() {
    SkipSpaces();
    return position_ < text_.size() ? text_[position_] : '\n';
  }
  char PeekAt(size_t ahead) const {
    return position_ + ahead < text_.size() ? text_[position_ + ahead] : '\n';
  }
  bool Take(std::string_view token) {
    SkipSpaces();
    if (std::string_view(text_).substr(position_, token.size()) != token) return false;
    position_ += token.size();
    return true;
  }
  absl::Status Expect(std::string_view token) {
    if (Take(token)) return absl::OkStatus();
    return Error("expected '" + std::string(token) + "'");
  }
  absl::Status EndLine() {
    if (Peek() != '\n') return Error("unexpected text at the end of the item");
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> PlainName(const std::string& what) {
    if (!text_format::IsNameStart(Peek())) return Error("expected " + what);
    const size_t begin = Here();
    while (position_ < text_.size() && text_format::IsNamePart(text_[position_])) ++position_;
    return text_.substr(begin, position_ - begin);
  }
  absl::StatusOr<std::string> QuotedName() {
    if (Peek() != '"') return Error("expected a quoted string");
    std::optional<std::string> value = ParseQuoted(text_, &position_);
    if (!value.has_value()) return Error("this string does not end or has a wrong escape");
    if (!IsUtf8(*value)) return Error("this string is not UTF-8");
    return *std::move(value);
  }
  absl::StatusOr<std::string> Name() {
    if (Peek() == '"') return QuotedName();
    return PlainName("a name");
  }

  // A decimal or 0x integer within the bounds; signed if minimum < 0.
  absl::StatusOr<uint64_t> Digits(uint64_t maximum) {
    const size_t begin = Here();
    const uint64_t base = PeekAt(0) == '0' && PeekAt(1) == 'x' ? 16 : 10;
    if (base == 16) position_ += 2;
    const size_t first = position_;
    uint64_t value = 0;
    for (; position_ < text_.size(); ++position_) {
      const char c = text_[position_];
      uint64_t digit = 16;
      if (c >= '0' && c <= '9') digit = static_cast<uint64_t>(c - '0');
      if (c >= 'a' && c <= 'f') digit = static_cast<uint64_t>(c - 'a') + 10;
      if (digit >= base) break;
      if (__builtin_mul_overflow(value, base, &value) ||
          __builtin_add_overflow(value, digit, &value) || value > maximum) {
        return ErrorAt(begin, "this number is too large");
      }
    }
    if (position_ == first) return ErrorAt(begin, "expected a number");
    return value;
  }
  absl::StatusOr<int64_t> Integer() {
    constexpr uint64_t kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    if (!Take("-")) {
      OF_ASSIGN_OR_RETURN(const uint64_t value, Digits(kMax));
      return static_cast<int64_t>(value);
    }
    OF_ASSIGN_OR_RETURN(const uint64_t value, Digits(kMax + 1));
    return static_cast<int64_t>(0 - value);
  }
  absl::StatusOr<uint32_t> Unsigned() {
    OF_ASSIGN_OR_RETURN(const uint64_t value, Digits(std::numeric_limits<uint32_t>::max()));
    return static_cast<uint32_t>(value);
  }
  absl::StatusOr<int32_t> Small() {
    const size_t begin = Here();
    OF_ASSIGN_OR_RETURN(const int64_t value, Integer());
    if (value < std::numeric_limits<int32_t>::min() ||
        value > std::numeric_limits<int32_t>::max()) {
      return ErrorAt(begin, "this number is too large");
    }
    return static_cast<int32_t>(value);
  }
  // "r3"
  absl::StatusOr<uint32_t> Reference(char prefix) {
    if (Peek() != prefix || !text_format::IsDigit(PeekAt(1))) {
      return Error(absl::StrCat("expected ", std::string(1, prefix), " and a number"));
    }
    ++position_;
    return Unsigned();
  }
  absl::StatusOr<int> Enum(const google::protobuf::EnumDescriptor* type) {
    if (Take("?")) return Small();
    const size_t begin = Here();
    OF_ASSIGN_OR_RETURN(std::string name, PlainName("one of the words of " + type->name()));
    for (int i = 0; i < type->value_count(); ++i) {
      if (text_format::EnumText(type, type->value(i)->number()) == name)
        return type->value(i)->number();
    }
    return ErrorAt(begin, "'" + name + "' is no " + type->name());
  }

  // ---- values ----

  // "[1,2]", appended by add(value).
  template <typename Read, typename Add>
  absl::Status List(const Read& read, const Add& add) {
    OF_RETURN_IF_ERROR(Expect("["));
    if (Take("]")) return absl::OkStatus();
    do {
      OF_ASSIGN_OR_RETURN(auto value, read());
      add(std::move(value));
    } while (Take(","));
    return Expect("]");
  }
  absl::Status Integers(google::protobuf::RepeatedField<int64_t>* list) {
    return List([&] { return Integer(); }, [&](int64_t value) { list->Add(value); });
  }
  absl::Status DTypeAndShape(const std::function<void(plan::DTypeProto)>& set,
                             google::protobuf::RepeatedField<int64_t>* shape) {
    OF_ASSIGN_OR_RETURN(const int dtype, Enum(plan::DTypeProto_descriptor()));
    set(static_cast<plan::DTypeProto>(dtype));
    return Integers(shape);
  }
  absl::Status Type(plan::TensorTypeProto* type) {
    return DTypeAndShape([&](plan::DTypeProto dtype) { type->set_dtype(dtype); },
                         type->mutable_shape());
  }
  absl::Status Stamp(plan::StampProto* stamp) {
    OF_ASSIGN_OR_RETURN(const uint32_t slot, Unsigned());
    stamp->set_slot(slot);
    if (Take("+")) {
      OF_ASSIGN_OR_RETURN(const uint32_t per_micro, Unsigned());
      stamp->set_slot_per_micro(per_micro);
      OF_RETURN_IF_ERROR(Expect("m"));
    }
    OF_RETURN_IF_ERROR(Expect("."));
    OF_ASSIGN_OR_RETURN(const uint32_t position, Unsigned());
    stamp->set_position(position);
    OF_RETURN_IF_ERROR(Expect("."));
    OF_ASSIGN_OR_RETURN(const uint32_t sub, Unsigned());
    stamp->set_sub(sub);
    return absl::OkStatus();
  }

  absl::Status Sbp(plan::SbpProto* sbp) {
    if (Take("?")) {
      OF_ASSIGN_OR_RETURN(const int32_t kind, Small());
      sbp->set_kind(static_cast<plan::SbpProto::Kind>(kind));
      OF_RETURN_IF_ERROR(Expect("."));
      OF_ASSIGN_OR_RETURN(const uint32_t dim, Unsigned());
      sbp->set_dim(dim);
      OF_RETURN_IF_ERROR(Expect("."));
      OF_ASSIGN_OR_RETURN(const int32_t reduce, Small());
      sbp->set_reduce(static_cast<plan::SbpProto::Reduce>(reduce));
      return absl::OkStatus();
    }
    if (Take("B")) return absl::OkStatus();
    if (Take("S(")) {
      sbp->set_kind(plan::SbpProto::S);
      OF_ASSIGN_OR_RETURN(const uint32_t dim, Unsigned());
      sbp->set_dim(dim);
      return Expect(")");
    }
    if (!Take("P")) return Error("expected S(dim), B or P");
    sbp->set_kind(plan::SbpProto::P);
    if (Take("(max)")) sbp->set_reduce(plan::SbpProto::MAX);
    if (Take("(min)")) sbp->set_reduce(plan::SbpProto::MIN);
    return absl::OkStatus();
  }

  // `rank` of the logical tensor gives the units that the text leaves out.
  absl::Status Sharding(plan::ShardingProto* sharding, size_t rank) {
    uses_axes_ = true;
    if (!Take("(-)")) {
      plan::SbpProto* micro = sharding->add_sbps();
      if (Take("micro:")) OF_RETURN_IF_ERROR(Sbp(micro));
      OF_RETURN_IF_ERROR(Expect("("));
      if (!Take(")")) {
        do {
          OF_RETURN_IF_ERROR(Sbp(sharding->add_sbps()));
        } while (Take(","));
        OF_RETURN_IF_ERROR(Expect(")"));
      }
    }
    if (Take("/")) {
      OF_RETURN_IF_ERROR(Integers(sharding->mutable_units()));
    } else {
      for (int64_t units : text_format::EvenUnits(*sharding, rank, axes_))
        sharding->add_units(units);
    }
    if (Take("@")) {
      OF_ASSIGN_OR_RETURN(const uint32_t stage, Unsigned());
      sharding->set_stage(stage);
    }
    return absl::OkStatus();
  }

  // A sharding begins with '(' or "micro:".
  bool AtSharding() {
    return Peek() == '(' || std::string_view(text_).substr(position_, 6) == "micro:";
  }

  absl::Status SetInteger(Message* message, const FieldDescriptor* field) {
    const Reflection* reflection = message->GetReflection();
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
      OF_ASSIGN_OR_RETURN(const uint32_t value, Unsigned());
      reflection->SetUInt32(message, field, value);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
      OF_ASSIGN_OR_RETURN(const uint64_t value, Digits(std::numeric_limits<uint64_t>::max()));
      reflection->SetUInt64(message, field, value);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
      OF_ASSIGN_OR_RETURN(const uint64_t value, Digits(1));
      reflection->SetBool(message, field, value == 1);
    } else {
      OF_ASSIGN_OR_RETURN(const int64_t value, Integer());
      reflection->SetInt64(message, field, value);
    }
    return absl::OkStatus();
  }

  // "key=value" items until the next word is none; each key at most once.
  absl::Status Keyed(Message* message, Fields fields) {
    const Reflection* reflection = message->GetReflection();
    std::set<std::string> seen;
    while (text_format::IsNameStart(Peek())) {
      const size_t begin = Here();
      OF_ASSIGN_OR_RETURN(const std::string key, PlainName("a key"));
      if (!Take("=")) {
        position_ = begin;  // the next part of the item
        return absl::OkStatus();
      }
      const KeyedField* keyed = std::find_if(fields.begin(), fields.end(),
                                             [&](const KeyedField& f) { return key == f.key; });
      if (keyed == fields.end()) return ErrorAt(begin, "unknown key '" + key + "'");
      if (!seen.insert(key).second) return ErrorAt(begin, "key '" + key + "' stands twice");
      const FieldDescriptor* field = message->GetDescriptor()->FindFieldByNumber(keyed->number);
      switch (keyed->format) {
        case Format::kText: {
          OF_ASSIGN_OR_RETURN(std::string value, Name());
          reflection->SetString(message, field, std::move(value));
          break;
        }
        case Format::kInteger:
        case Format::kHex:
          OF_RETURN_IF_ERROR(SetInteger(message, field));
          break;
        case Format::kReference: {
          OF_ASSIGN_OR_RETURN(const uint32_t value, Reference(keyed->prefix));
          reflection->SetUInt32(message, field, value);
          break;
        }
        case Format::kEnum: {
          OF_ASSIGN_OR_RETURN(const int value, Enum(field->enum_type()));
          reflection->SetEnumValue(message, field, value);
          break;
        }
        case Format::kStamp:
          OF_RETURN_IF_ERROR(
              Stamp(static_cast<plan::StampProto*>(reflection->MutableMessage(message, field))));
          break;
      }
    }
    return absl::OkStatus();
  }

  // "t7": the id of the next item of its kind must be its position.
  absl::Status Id(char prefix, int expected) {
    const size_t begin = Here();
    OF_ASSIGN_OR_RETURN(const uint32_t id, Reference(prefix));
    if (id != static_cast<uint32_t>(expected)) {
      return ErrorAt(begin, std::string("expected ") + prefix + std::to_string(expected) +
                                ": ids are positions");
    }
    return absl::OkStatus();
  }

  // ---- items ----

  absl::Status Item(const std::string& keyword) {
    if (keyword == "plan") return PlanLine();
    if (!has_plan_line_) return ErrorAt(item_, "the line 'plan NAME ...' must come first");
    if (keyword == "mesh") return MeshLine();
    if (keyword == "device") {
      OF_RETURN_IF_ERROR(Id('d', plan_.devices_size()));
      return Keyed(plan_.add_devices(), text_format::kDeviceFields);
    }
    if (keyword == "state") return StateLine();
    if (keyword == "shard") return ShardLine();
    if (keyword == "input") {
      OF_RETURN_IF_ERROR(Id('i', plan_.inputs_size()));
      return NameAndType(plan_.add_inputs());
    }
    if (keyword == "output") {
      OF_RETURN_IF_ERROR(Id('o', plan_.outputs_size()));
      return NameAndType(plan_.add_outputs());
    }
    if (keyword == "location") {
      OF_RETURN_IF_ERROR(Id('l', plan_.locations_size()));
      plan::LocationProto* location = plan_.add_locations();
      OF_ASSIGN_OR_RETURN(*location->mutable_file(), QuotedName());
      return Keyed(location, text_format::kLocationFields);
    }
    if (keyword == "node") {
      OF_RETURN_IF_ERROR(Id('n', plan_.node_fingerprints_size()));
      return Keyed(plan_.add_node_fingerprints(), text_format::kNodeFields);
    }
    if (keyword == "stream") return StreamItems();
    if (keyword == "register") return RegisterLine();
    if (keyword == "channel") {
      OF_RETURN_IF_ERROR(Id('c', plan_.channels_size()));
      plan::ChannelProto* channel = plan_.add_channels();
      OF_ASSIGN_OR_RETURN(*channel->mutable_name(), Name());
      return Keyed(channel, text_format::kChannelFields);
    }
    if (keyword == "task") {
      OF_RETURN_IF_ERROR(Id('t', plan_.tasks_size()));
      plan::Task* task = plan_.add_tasks();
      OF_ASSIGN_OR_RETURN(*task->mutable_name(), Name());
      return Keyed(task, text_format::kTaskFields);
    }
    return TaskPart(keyword);
  }

  absl::Status PlanLine() {
    if (has_plan_line_) return ErrorAt(item_, "a second 'plan' line");
    has_plan_line_ = true;
    OF_ASSIGN_OR_RETURN(*plan_.mutable_name(), Name());
    OF_RETURN_IF_ERROR(Keyed(&plan_, text_format::kPlanFields));
    axes_ = text_format::LayoutAxesOf(plan_);
    return absl::OkStatus();
  }

  absl::Status MeshLine() {
    if (plan_.has_mesh()) return ErrorAt(item_, "a second 'mesh' line");
    if (uses_axes_) return ErrorAt(item_, "the mesh must stand before the first sharding");
    plan::MeshProto* mesh = plan_.mutable_mesh();
    while (Peek() == '"' || text_format::IsNameStart(Peek())) {
      const size_t begin = Here();
      OF_ASSIGN_OR_RETURN(std::string name, Name());
      if (!Take(":")) {
        position_ = begin;
        break;
      }
      plan::AxisProto* axis = mesh->add_axes();
      axis->set_name(std::move(name));
      OF_ASSIGN_OR_RETURN(const int64_t size, Integer());
      axis->set_size(size);
    }
    OF_RETURN_IF_ERROR(Expect("on"));
    OF_RETURN_IF_ERROR(
        List([&] { return Unsigned(); }, [&](uint32_t id) { mesh->add_devices(id); }));
    axes_ = text_format::LayoutAxesOf(plan_);
    return absl::OkStatus();
  }

  // Fields that states, inputs and outputs share.
  template <typename Item>
  absl::Status NameAndType(Item* item) {
    OF_ASSIGN_OR_RETURN(*item->mutable_name(), Name());
    return DTypeAndShape([&](plan::DTypeProto dtype) { item->set_dtype(dtype); },
                         item->mutable_logical_shape());
  }

  absl::Status StateLine() {
    OF_RETURN_IF_ERROR(Id('s', plan_.states_size()));
    plan::StateProto* state = plan_.add_states();
    OF_RETURN_IF_ERROR(NameAndType(state));
    if (!AtSharding()) return absl::OkStatus();
    return Sharding(state->mutable_sharding(), static_cast<size_t>(state->logical_shape_size()));
  }

  absl::Status ShardLine() {
    if (plan_.states_size() == 0) return ErrorAt(item_, "a shard stands before the first state");
    plan::StateShard* shard = plan_.mutable_states(plan_.states_size() - 1)->add_shards();
    OF_ASSIGN_OR_RETURN(const uint32_t device, Reference('d'));
    shard->set_device(device);
    OF_RETURN_IF_ERROR(Integers(shard->mutable_begin()));
    OF_RETURN_IF_ERROR(Expect("+"));
    return Integers(shard->mutable_shape());
  }

  absl::Status StreamItems() {
    OF_RETURN_IF_ERROR(Id('q', plan_.streams_size()));
    plan::Stream* stream = plan_.add_streams();
    OF_ASSIGN_OR_RETURN(*stream->mutable_name(), Name());
    OF_RETURN_IF_ERROR(Keyed(stream, text_format::kStreamFields));
    return Body(stream->mutable_items(), 0);
  }

  // "{ t0 micro i=0..4 { t1[i+1] } }", over several lines if need be.
  absl::Status Body(RepeatedPtrField<plan::StreamItem>* items, int depth) {
    if (depth > text_format::kMaxLoopDepth) return Error("loops nest too deep");
    OF_RETURN_IF_ERROR(Expect("{"));
    while (true) {
      SkipLines();
      if (Take("}")) return absl::OkStatus();
      plan::StreamItem* item = items->Add();
      if (Take("-")) continue;
      if (Peek() == 't' && text_format::IsDigit(PeekAt(1))) {
        OF_RETURN_IF_ERROR(FiringItem(item->mutable_firing()));
      } else {
        OF_RETURN_IF_ERROR(LoopItem(item->mutable_loop(), depth));
      }
    }
  }

  absl::Status FiringItem(plan::Firing* firing) {
    OF_ASSIGN_OR_RETURN(const uint32_t task, Reference('t'));
    firing->set_task(task);
    if (!Take("[")) return absl::OkStatus();
    OF_RETURN_IF_ERROR(Expect("i"));
    if (Take("]")) return absl::OkStatus();
    if (Peek() != '-') OF_RETURN_IF_ERROR(Expect("+"));
    OF_ASSIGN_OR_RETURN(const int64_t offset, Integer());
    firing->set_micro_offset(offset);
    return Expect("]");
  }

  absl::Status LoopItem(plan::Loop* loop, int depth) {
    OF_ASSIGN_OR_RETURN(const int level, Enum(plan::Level_descriptor()));
    loop->set_level(static_cast<plan::Level>(level));
    if (!Take("i=")) OF_RETURN_IF_ERROR(Expect("c="));
    OF_ASSIGN_OR_RETURN(const uint32_t begin, Unsigned());
    OF_RETURN_IF_ERROR(Expect(".."));
    constexpr uint64_t kMax = std::numeric_limits<uint32_t>::max();
    const size_t at = Here();
    OF_ASSIGN_OR_RETURN(const uint64_t end, Digits(kMax + kMax));
    if (end < begin || end - begin > kMax) return ErrorAt(at, "this loop has an impossible end");
    loop->set_begin(begin);
    loop->set_count(static_cast<uint32_t>(end - begin));
    return Body(loop->mutable_body(), depth + 1);
  }

  absl::Status RegisterLine() {
    OF_RETURN_IF_ERROR(Id('r', plan_.registers_size()));
    plan::Register* reg = plan_.add_registers();
    if (!Take("-")) OF_RETURN_IF_ERROR(Type(reg->mutable_type()));
    OF_RETURN_IF_ERROR(Keyed(reg, text_format::kRegisterFields));
    OF_ASSIGN_OR_RETURN(const uint32_t producer, Reference('t'));
    reg->set_producer(producer);
    OF_RETURN_IF_ERROR(Expect("->"));
    while (Peek() == 't') {
      OF_ASSIGN_OR_RETURN(const uint32_t consumer, Reference('t'));
      reg->add_consumers(consumer);
    }
    if (!Take("enqueued")) return absl::OkStatus();
    while (Peek() == 't') {
      OF_ASSIGN_OR_RETURN(const uint32_t consumer, Reference('t'));
      reg->add_enqueued(consumer);
    }
    return absl::OkStatus();
  }

  // The lines that follow a task: in, out, attrs, rule, over, after.
  absl::Status TaskPart(const std::string& keyword) {
    const bool part = keyword == "in" || keyword == "out" || keyword == "attrs" ||
                      keyword == "rule" || keyword == "over" || keyword == "after";
    if (!part) return ErrorAt(item_, "there is no item '" + keyword + "'");
    if (plan_.tasks_size() == 0)
      return ErrorAt(item_, "'" + keyword + "' stands before the first task");
    plan::Task* task = plan_.mutable_tasks(plan_.tasks_size() - 1);
    if (keyword == "in") return PortLine(task->add_inputs());
    if (keyword == "out") return PortLine(task->add_outputs());
    if (keyword == "attrs") return AttrsLine(task->mutable_attrs());
    if (keyword == "rule") {
      if (!task->rule().empty()) return ErrorAt(item_, "a second rule of one task");
      OF_ASSIGN_OR_RETURN(*task->mutable_rule(), QuotedName());
      return absl::OkStatus();
    }
    if (keyword == "over") {
      while (text_format::IsDigit(Peek())) {
        plan::Alias* alias = task->add_aliases();
        OF_ASSIGN_OR_RETURN(const uint32_t output, Unsigned());
        alias->set_output(output);
        OF_RETURN_IF_ERROR(Expect("/"));
        OF_ASSIGN_OR_RETURN(const uint32_t input, Unsigned());
        alias->set_input(input);
      }
      return absl::OkStatus();
    }
    while (Peek() == 't') {
      plan::AfterEdge* edge = task->add_after();
      OF_ASSIGN_OR_RETURN(const uint32_t before, Reference('t'));
      edge->set_task(before);
      OF_RETURN_IF_ERROR(Expect("/"));
      OF_RETURN_IF_ERROR(LevelAndLag(edge));
      if (!Take("/")) continue;
      OF_ASSIGN_OR_RETURN(const int need, Enum(plan::Need_descriptor()));
      edge->set_need(static_cast<plan::Need>(need));
    }
    return absl::OkStatus();
  }

  // "micro-1"; the '-' is a part of plain names, so the word is read letter by letter.
  absl::Status LevelAndLag(plan::AfterEdge* edge) {
    bool found = Peek() == '?';
    if (found) {
      OF_ASSIGN_OR_RETURN(const int level, Enum(plan::Level_descriptor()));
      edge->set_level(static_cast<plan::Level>(level));
    }
    for (int i = 0; !found && i < plan::Level_descriptor()->value_count(); ++i) {
      const int level = plan::Level_descriptor()->value(i)->number();
      if (!Take(text_format::EnumText(plan::Level_descriptor(), level))) continue;
      edge->set_level(static_cast<plan::Level>(level));
      found = true;
    }
    if (!found) return Error("expected a level");
    if (!Take("-")) return absl::OkStatus();
    OF_ASSIGN_OR_RETURN(const uint32_t lag, Unsigned());
    edge->set_lag(lag);
    return absl::OkStatus();
  }

  absl::Status PortLine(plan::Port* port) {
    if (!Take("-")) {
      const char prefix = Peek() == 's' ? 's' : 'r';
      OF_ASSIGN_OR_RETURN(const uint32_t source, Reference(prefix));
      if (prefix == 's') {
        port->set_state(source);
      } else {
        port->set_register_(source);
      }
    }
    if (Peek() != '\n' && Peek() != '(' && !AtKey()) OF_RETURN_IF_ERROR(Type(port->mutable_type()));
    if (Take("of=")) OF_RETURN_IF_ERROR(Integers(port->mutable_logical_shape()));
    if (AtSharding()) {
      OF_RETURN_IF_ERROR(
          Sharding(port->mutable_sharding(), static_cast<size_t>(port->logical_shape_size())));
    }
    if (Take("at=")) OF_RETURN_IF_ERROR(Integers(port->mutable_begin()));
    if (!Take("micro=")) return absl::OkStatus();
    OF_RETURN_IF_ERROR(Expect("["));
    OF_ASSIGN_OR_RETURN(const uint32_t dim, Unsigned());
    port->set_micro_dim(dim);
    OF_RETURN_IF_ERROR(Expect(","));
    OF_ASSIGN_OR_RETURN(const int64_t stride, Integer());
    port->set_micro_stride(stride);
    return Expect("]");
  }

  // True at "of=", "at=", "micro=" and "micro:", that is where no type stands.
  bool AtKey() {
    size_t ahead = 0;
    SkipSpaces();
    while (text_format::IsNamePart(PeekAt(ahead))) ++ahead;
    return ahead > 0 && (PeekAt(ahead) == '=' || PeekAt(ahead) == ':');
  }

  absl::Status AttrsLine(RepeatedPtrField<plan::AttrProto>* attrs) {
    if (!attrs->empty()) return ErrorAt(item_, "a second 'attrs' of one task");
    OF_RETURN_IF_ERROR(Expect("{"));
    if (Take("}")) return absl::OkStatus();
    do {
      plan::AttrProto* attr = attrs->Add();
      OF_ASSIGN_OR_RETURN(*attr->mutable_name(), Name());
      OF_RETURN_IF_ERROR(Expect("="));
      OF_RETURN_IF_ERROR(AttrValue(attr));
    } while (Take(","));
    return Expect("}");
  }

  // The characters of a number or word: "-1e-05", "nan:7ff8000000000001", "true".
  std::string Word() {
    const size_t begin = Here();
    while (text_format::IsNamePart(PeekAt(0)) || PeekAt(0) == '+' || PeekAt(0) == ':') ++position_;
    return text_.substr(begin, position_ - begin);
  }
  absl::StatusOr<double> Float() {
    const size_t begin = Here();
    const std::optional<double> value = ParseFloat(Word());
    if (!value.has_value()) return ErrorAt(begin, "expected a float");
    return *value;
  }

  absl::Status AttrValue(plan::AttrProto* attr) {
    const auto strings = [&] {
      return List([&] { return QuotedName(); },
                  [&](std::string value) { attr->mutable_strings()->add_v(std::move(value)); });
    };
    const auto floats = [&] {
      return List([&] { return Float(); },
                  [&](double value) { attr->mutable_floats()->add_v(value); });
    };
    if (Peek() == '"') {
      OF_ASSIGN_OR_RETURN(std::string value, QuotedName());
      attr->set_s(std::move(value));
      return absl::OkStatus();
    }
    if (Peek() == '[') {
      // The first element tells the type.
      const size_t begin = Here();
      ++position_;
      const bool quoted = Peek() == '"';
      const std::string first = Word();
      position_ = begin;
      if (quoted) return strings();
      if (!first.empty() && first.find_first_not_of("-0123456789") != std::string::npos)
        return floats();
      attr->mutable_ints();
      return List([&] { return Integer(); },
                  [&](int64_t value) { attr->mutable_ints()->add_v(value); });
    }
    const size_t begin = Here();
    const std::string word = Word();
    if (word == "-") return absl::OkStatus();  // a name without a value
    if (word == "floats") {
      attr->mutable_floats();
      return floats();
    }
    if (word == "strings") {
      attr->mutable_strings();
      return strings();
    }
    if (word == "true" || word == "false") {
      attr->set_b(word == "true");
      return absl::OkStatus();
    }
    if (const std::optional<int64_t> integer = ParseInt(word); integer.has_value()) {
      attr->set_i(*integer);
      return absl::OkStatus();
    }
    if (word.find_first_not_of("-0123456789") == std::string::npos) {
      return ErrorAt(begin, "expected the value of an attribute");
    }
    const std::optional<double> value = ParseFloat(word);
    if (!value.has_value()) return ErrorAt(begin, "expected the value of an attribute");
    attr->set_f(*value);
    return absl::OkStatus();
  }

  const std::string& text_;
  size_t position_ = 0;
  size_t item_ = 0;  // where the current item begins
  plan::Plan plan_;
  std::vector<Axis> axes_;
  bool has_plan_line_ = false;
  bool uses_axes_ = false;
};

}  // namespace

absl::StatusOr<plan::Plan> ParsePlan(const std::string& text) { return PlanParser(text).Parse(); }

}  // namespace oneflow
