#include "plan/text.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <map>

#include "base/dtype.h"
#include "base/text.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "plan/attrs.h"
#include "plan/shape_of.h"
#include "plan/text_format.h"

namespace oneflow {
namespace text_format {

std::vector<Axis> LayoutAxesOf(const plan::Plan& plan) {
  std::vector<Axis> axes = {{"micro", plan.micro_batches()}};
  for (const plan::AxisProto& axis : plan.mesh().axes()) {
    if (axis.name() != "pp") axes.push_back({axis.name(), axis.size()});
  }
  return axes;
}

std::vector<int64_t> EvenUnits(const plan::ShardingProto& sharding, size_t rank,
                               const std::vector<Axis>& axes) {
  std::vector<int64_t> units(rank, 0);
  bool split = false;
  for (size_t i = 0; i < axes.size() && i < static_cast<size_t>(sharding.sbps_size()); ++i) {
    const plan::SbpProto& sbp = sharding.sbps(static_cast<int>(i));
    if (sbp.kind() != plan::SbpProto::S || sbp.dim() >= rank) continue;
    int64_t& parts = units[sbp.dim()];
    if (parts == 0) parts = 1;
    if (__builtin_mul_overflow(parts, std::max<int64_t>(axes[i].size, 1), &parts)) {
      parts = std::numeric_limits<int64_t>::max();
    }
    split = true;
  }
  if (!split) units.clear();
  return units;
}

std::string EnumText(const google::protobuf::EnumDescriptor* type, int number) {
  const google::protobuf::EnumValueDescriptor* value = type->FindValueByNumber(number);
  if (value == nullptr) return "?" + std::to_string(number);
  std::string text = value->name();
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

bool IsPlainName(const std::string& text) {
  return !text.empty() && IsNameStart(text[0]) &&
         std::all_of(text.begin(), text.end(), [](char c) { return IsNamePart(c); });
}

}  // namespace text_format

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using text_format::Fields;
using text_format::Format;
using text_format::KeyedField;

constexpr size_t kLineWidth = 100;

// Prints one plan; the member functions append to text_.
class PlanPrinter {
 public:
  explicit PlanPrinter(const plan::Plan& plan)
      : plan_(plan), axes_(text_format::LayoutAxesOf(plan)) {}

  std::string Print() {
    text_ = "plan " + Name(plan_.name());
    Keyed(plan_, text_format::kPlanFields);
    text_ += '\n';
    Statistics();
    PrintMesh();
    for (int i = 0; i < plan_.devices_size(); ++i) {
      Begin("device", 'd', i);
      Keyed(plan_.devices(i), text_format::kDeviceFields);
      text_ += '\n';
    }
    for (int i = 0; i < plan_.states_size(); ++i) PrintState(i);
    for (int i = 0; i < plan_.inputs_size(); ++i) {
      const plan::InputProto& input = plan_.inputs(i);
      Begin("input", 'i', i);
      text_ += " " + Name(input.name()) + " " + Type(input.dtype(), input.logical_shape()) + "\n";
    }
    for (int i = 0; i < plan_.outputs_size(); ++i) {
      const plan::OutputProto& output = plan_.outputs(i);
      Begin("output", 'o', i);
      text_ +=
          " " + Name(output.name()) + " " + Type(output.dtype(), output.logical_shape()) + "\n";
    }
    for (int i = 0; i < plan_.locations_size(); ++i) {
      Begin("location", 'l', i);
      text_ += " " + Quoted(plan_.locations(i).file());
      Keyed(plan_.locations(i), text_format::kLocationFields);
      text_ += '\n';
    }
    for (int i = 0; i < plan_.node_fingerprints_size(); ++i) {
      Begin("node", 'n', i);
      Keyed(plan_.node_fingerprints(i), text_format::kNodeFields);
      EndWithLocation(plan_.node_fingerprints(i).location());
    }
    for (int i = 0; i < plan_.streams_size(); ++i) PrintStream(i);
    for (int i = 0; i < plan_.registers_size(); ++i) PrintRegister(i);
    for (int i = 0; i < plan_.tasks_size(); ++i) PrintTask(i);
    for (int i = 0; i < plan_.channels_size(); ++i) {
      Begin("channel", 'c', i);
      text_ += " " + Name(plan_.channels(i).name());
      Keyed(plan_.channels(i), text_format::kChannelFields);
      text_ += '\n';
    }
    return std::move(text_);
  }

 private:
  static std::string Name(const std::string& name) {
    return text_format::IsPlainName(name) ? name : Quoted(name);
  }

  static std::string Hex(uint64_t value, int digits) {
    std::array<char, 24> buffer;
    const int length = std::snprintf(buffer.data(), buffer.size(), "0x%0*llx", digits,
                                     static_cast<unsigned long long>(value));
    return std::string(buffer.data(), static_cast<size_t>(length));
  }

  template <typename Numbers>
  static std::string List(const Numbers& numbers) {
    std::string text = "[";
    for (int i = 0; i < numbers.size(); ++i)
      text += (i > 0 ? "," : "") + std::to_string(numbers[i]);
    return text + ']';
  }

  template <typename Shape>
  static std::string Type(int dtype, const Shape& shape) {
    return text_format::EnumText(plan::DTypeProto_descriptor(), dtype) + List(shape);
  }

  static std::string StampText(const plan::StampProto& stamp) {
    std::string text = std::to_string(stamp.slot());
    if (stamp.slot_per_micro() != 0) text += "+" + std::to_string(stamp.slot_per_micro()) + "m";
    return text + "." + std::to_string(stamp.position()) + "." + std::to_string(stamp.sub());
  }

  static std::string SbpText(const plan::SbpProto& sbp) {
    const bool split = sbp.kind() == plan::SbpProto::S && sbp.reduce() == 0;
    const bool partial = sbp.kind() == plan::SbpProto::P && sbp.dim() == 0;
    if (sbp.kind() == plan::SbpProto::B && sbp.dim() == 0 && sbp.reduce() == 0) return "B";
    if (split) return "S(" + std::to_string(sbp.dim()) + ")";
    if (partial && sbp.reduce() == plan::SbpProto::SUM) return "P";
    if (partial && sbp.reduce() == plan::SbpProto::MAX) return "P(max)";
    if (partial && sbp.reduce() == plan::SbpProto::MIN) return "P(min)";
    // Not a legal Sbp, but it prints and parses back.
    return "?" + std::to_string(sbp.kind()) + "." + std::to_string(sbp.dim()) + "." +
           std::to_string(sbp.reduce());
  }

  std::string ShardingText(const plan::ShardingProto& sharding, size_t rank) const {
    std::string text;
    if (sharding.sbps_size() == 0) {
      text = "(-)";
    } else {
      const std::string micro = SbpText(sharding.sbps(0));
      if (micro != "B") text = "micro:" + micro;
      text += '(';
      for (int i = 1; i < sharding.sbps_size(); ++i) {
        text += (i > 1 ? "," : "") + SbpText(sharding.sbps(i));
      }
      text += ')';
    }
    const std::vector<int64_t> even = text_format::EvenUnits(sharding, rank, axes_);
    if (!std::equal(even.begin(), even.end(), sharding.units().begin(), sharding.units().end())) {
      text += "/" + List(sharding.units());
    }
    if (sharding.stage() != 0) text += "@" + std::to_string(sharding.stage());
    return text;
  }

  // " key=value" for each field that is set or always printed, or whose number is `also`.
  void Keyed(const Message& message, Fields fields, int also = -1) {
    const Reflection* reflection = message.GetReflection();
    for (const KeyedField& keyed : fields) {
      const FieldDescriptor* field = message.GetDescriptor()->FindFieldByNumber(keyed.number);
      if (!keyed.always && keyed.number != also && !reflection->HasField(message, field)) continue;
      text_ += std::string(" ") + keyed.key + "=";
      switch (keyed.format) {
        case Format::kText:
          text_ += Name(reflection->GetString(message, field));
          break;
        case Format::kInteger:
          text_ += IntegerText(message, field);
          break;
        case Format::kHex:
          if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
            text_ += Hex(reflection->GetUInt64(message, field), 16);
          } else if (const int64_t value = reflection->GetInt64(message, field); value >= 0) {
            text_ += Hex(static_cast<uint64_t>(value), 6);
          } else {
            text_ += std::to_string(value);
          }
          break;
        case Format::kReference:
          text_ += keyed.prefix + IntegerText(message, field);
          break;
        case Format::kEnum:
          text_ +=
              text_format::EnumText(field->enum_type(), reflection->GetEnumValue(message, field));
          break;
        case Format::kStamp:
          text_ += StampText(
              static_cast<const plan::StampProto&>(reflection->GetMessage(message, field)));
          break;
      }
    }
  }

  static std::string IntegerText(const Message& message, const FieldDescriptor* field) {
    const Reflection* reflection = message.GetReflection();
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
      return std::to_string(reflection->GetUInt32(message, field));
    }
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
      return reflection->GetBool(message, field) ? "1" : "0";
    }
    return std::to_string(reflection->GetInt64(message, field));
  }

  void Begin(const char* keyword, char prefix, int id) {
    text_ += std::string(keyword) + " " + prefix + std::to_string(id);
  }

  // Ends an item's line; the short form of its location is a comment, for the number alone says
  // little.
  void EndWithLocation(uint32_t location) {
    if (location < static_cast<uint32_t>(plan_.locations_size())) {
      const plan::LocationProto& place = plan_.locations(static_cast<int>(location));
      if (place.line() != 0) {
        const std::string file = place.file().substr(place.file().rfind('/') + 1);
        text_ += "  # " + Name(file) + ":" + std::to_string(place.line());
      }
    }
    text_ += '\n';
  }

  void Statistics() {
    const auto count = [](int n, const char* name) {
      return std::to_string(n) + " " + name + (n == 1 ? "" : "s");
    };
    text_ +=
        "# rank " + std::to_string(plan_.rank()) + " of " + std::to_string(plan_.world_size()) +
        ": " + count(plan_.tasks_size(), "task") + ", " + count(plan_.streams_size(), "stream") +
        ", " + count(plan_.registers_size(), "register") + ", " +
        count(plan_.channels_size(), "channel") + ", " + count(plan_.states_size(), "state") + "\n";
    std::map<uint32_t, int64_t> state_bytes;
    for (const plan::StateProto& state : plan_.states()) {
      for (const plan::StateShard& shard : state.shards()) {
        int64_t& total = state_bytes[shard.device()];
        const Shape shape = ShapeOf(shard.shape());
        int64_t bytes = CheckedNumElements(shape).value_or(0);
        if (__builtin_mul_overflow(bytes, SizeOf(static_cast<DType>(state.dtype())), &bytes) ||
            __builtin_add_overflow(total, bytes, &total)) {
          total = std::numeric_limits<int64_t>::max();
        }
      }
    }
    for (int i = 0; i < plan_.devices_size(); ++i) {
      text_ += "# d" + std::to_string(i) + " " + Name(plan_.devices(i).kind()) + ": arena " +
               BytesText(plan_.devices(i).arena_bytes()) + ", state " +
               BytesText(state_bytes[static_cast<uint32_t>(i)]) + "\n";
    }
  }

  void PrintMesh() {
    if (!plan_.has_mesh()) return;
    text_ += "mesh";
    for (const plan::AxisProto& axis : plan_.mesh().axes()) {
      text_ += " " + Name(axis.name()) + ":" + std::to_string(axis.size());
    }
    text_ += " on " + List(plan_.mesh().devices()) + "\n";
  }

  void PrintState(int i) {
    const plan::StateProto& state = plan_.states(i);
    Begin("state", 's', i);
    text_ += " " + Name(state.name()) + " " + Type(state.dtype(), state.logical_shape());
    if (state.has_sharding()) {
      text_ +=
          " " + ShardingText(state.sharding(), static_cast<size_t>(state.logical_shape_size()));
    }
    text_ += '\n';
    for (const plan::StateShard& shard : state.shards()) {
      text_ += "  shard d" + std::to_string(shard.device()) + " " + List(shard.begin()) + "+" +
               List(shard.shape()) + "\n";
    }
  }

  // Appends the tokens of a body: "t3[i+1]", "micro i=0..4 {", "}".
  void Tokens(const google::protobuf::RepeatedPtrField<plan::StreamItem>& items, bool in_micro,
              std::vector<std::string>* tokens) const {
    for (const plan::StreamItem& item : items) {
      if (item.has_firing()) {
        const int64_t offset = item.firing().micro_offset();
        std::string token = "t" + std::to_string(item.firing().task());
        if (offset != 0) {
          token += std::string("[i") + (offset > 0 ? "+" : "") + std::to_string(offset) + "]";
        } else if (in_micro) {
          token += "[i]";
        }
        tokens->push_back(std::move(token));
      } else if (item.has_loop()) {
        const plan::Loop& loop = item.loop();
        const bool micro = loop.level() == plan::MICRO;
        const uint64_t end = uint64_t{loop.begin()} + loop.count();
        tokens->push_back(text_format::EnumText(plan::Level_descriptor(), loop.level()) +
                          (micro ? " i=" : " c=") + std::to_string(loop.begin()) + ".." +
                          std::to_string(end) + " {");
        Tokens(loop.body(), in_micro || micro, tokens);
        tokens->push_back("}");
      } else {
        tokens->push_back("-");
      }
    }
  }

  void PrintStream(int i) {
    const plan::Stream& stream = plan_.streams(i);
    Begin("stream", 'q', i);
    text_ += " " + Name(stream.name());
    Keyed(stream, text_format::kStreamFields);
    std::vector<std::string> tokens;
    Tokens(stream.items(), false, &tokens);
    size_t width = 0;
    for (const std::string& token : tokens) width += token.size() + 1;
    if (width + 40 <= kLineWidth) {
      text_ += " {";
      for (const std::string& token : tokens) text_ += " " + token;
      text_ += " }\n";
      return;
    }
    // Wrapped: a loop begins and ends a line.
    text_ += " {\n";
    size_t depth = 1;
    std::string line;
    const auto flush = [&] {
      if (!line.empty()) text_ += line + "\n";
      line.clear();
    };
    for (const std::string& token : tokens) {
      const bool opens = token.back() == '{';
      const bool closes = token == "}";
      if (opens || closes || line.size() + token.size() + 1 > kLineWidth) flush();
      if (closes) --depth;
      if (line.empty()) {
        line = std::string(2 * depth, ' ') + token;
      } else {
        line += " " + token;
      }
      if (opens) ++depth;
      if (opens || closes) flush();
    }
    flush();
    text_ += "}\n";
  }

  void PrintRegister(int i) {
    const plan::Register& reg = plan_.registers(i);
    Begin("register", 'r', i);
    text_ += " " + (reg.has_type() ? Type(reg.type().dtype(), reg.type().shape()) : "-");
    Keyed(reg, text_format::kRegisterFields);
    text_ += " t" + std::to_string(reg.producer()) + " ->";
    for (uint32_t consumer : reg.consumers()) text_ += " t" + std::to_string(consumer);
    if (reg.enqueued_size() > 0) text_ += " enqueued";
    for (uint32_t consumer : reg.enqueued()) text_ += " t" + std::to_string(consumer);
    text_ += '\n';
  }

  void PrintPort(const char* keyword, const plan::Port& port) {
    text_ += std::string("  ") + keyword;
    switch (port.source_case()) {
      case plan::Port::kRegister:
        text_ += " r" + std::to_string(port.register_());
        break;
      case plan::Port::kState:
        text_ += " s" + std::to_string(port.state());
        break;
      case plan::Port::SOURCE_NOT_SET:
        text_ += " -";
        break;
    }
    if (port.has_type()) text_ += " " + Type(port.type().dtype(), port.type().shape());
    if (port.logical_shape_size() > 0) text_ += " of=" + List(port.logical_shape());
    if (port.has_sharding()) {
      text_ += " " + ShardingText(port.sharding(), static_cast<size_t>(port.logical_shape_size()));
    }
    if (port.begin_size() > 0) text_ += " at=" + List(port.begin());
    if (port.micro_dim() != 0 || port.micro_stride() != 0) {
      text_ += " micro=[" + std::to_string(port.micro_dim()) + "," +
               std::to_string(port.micro_stride()) + "]";
    }
    text_ += '\n';
  }

  static std::string AttrText(const plan::AttrProto& attr) {
    // Attrs::FromProto leaves out attributes without a value; here they must come back.
    if (attr.value_case() == plan::AttrProto::VALUE_NOT_SET) return "-";
    google::protobuf::RepeatedPtrField<plan::AttrProto> one;
    *one.Add() = attr;
    return ToString(Attrs::FromProto(one).values().begin()->second);
  }

  void PrintTask(int i) {
    const plan::Task& task = plan_.tasks(i);
    Begin("task", 't', i);
    text_ += " " + Name(task.name());
    int also = -1;
    if (task.kind() == plan::FEED || task.kind() == plan::FETCH)
      also = plan::Task::kIndexFieldNumber;
    if (task.kind() == plan::SEND || task.kind() == plan::RECV)
      also = plan::Task::kChannelFieldNumber;
    Keyed(task, text_format::kTaskFields, also);
    EndWithLocation(task.location());
    for (const plan::Port& port : task.inputs()) PrintPort("in", port);
    for (const plan::Port& port : task.outputs()) PrintPort("out", port);
    if (task.attrs_size() > 0) {
      text_ += "  attrs {";
      for (int a = 0; a < task.attrs_size(); ++a) {
        text_ += (a > 0 ? ", " : "") + Name(task.attrs(a).name()) + "=" + AttrText(task.attrs(a));
      }
      text_ += "}\n";
    }
    if (!task.rule().empty()) text_ += "  rule " + Quoted(task.rule()) + "\n";
    if (task.aliases_size() > 0) {
      text_ += "  over";
      for (const plan::Alias& alias : task.aliases())
        text_ += " " + std::to_string(alias.output()) + "/" + std::to_string(alias.input());
      text_ += '\n';
    }
    if (task.after_size() > 0) {
      text_ += "  after";
      for (const plan::AfterEdge& edge : task.after()) {
        text_ += " t" + std::to_string(edge.task()) + "/" +
                 text_format::EnumText(plan::Level_descriptor(), edge.level());
        if (edge.lag() != 0) text_ += "-" + std::to_string(edge.lag());
        if (edge.need() != plan::FINISHED) {
          text_ += "/" + text_format::EnumText(plan::Need_descriptor(), edge.need());
        }
      }
      text_ += '\n';
    }
  }

  const plan::Plan& plan_;
  const std::vector<Axis> axes_;
  std::string text_;
};

}  // namespace

std::string PrintPlan(const plan::Plan& plan) { return PlanPrinter(plan).Print(); }

}  // namespace oneflow
