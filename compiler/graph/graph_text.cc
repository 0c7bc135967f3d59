// The text form of a Graph. One item per line (long ones are broken here only):
//
//   graph "mlp"
//   state "fc1.weight" : f32[64,32] ask{tp=S(0)} <(B,S(0))>
//   %0 = input {dtype="f32", kind="batch", name="x", shape=[8,32]} : f32[8,32] ask{dp=S(0)}
//     <(S(0),B)>
//   %2 = matmul(%0, %1) {transpose_a=false, transpose_b=true} : f32[8,64] ; scope="fc1" stage=0
//     # mlp.py:8
//   %9 = relu_grad(%3, %8) : f32[8,64] ; scope="fc1" phase=backward grad_of=%3  # mlp.py:9
//   state_write(%7) {name="fc1.weight"} ; phase=update
//
// `phase=` stands where it is not forward. `ask{..}` is what the user asked for by axis, `<..>` a decided Sharding; both stand after the
// type that they belong to, and several outputs are separated by ",". `grad_of` names the
// differentiated node by its first output. Value numbers are those of the graph and may have gaps
// where a pass removed nodes. Of a location only base name and line are kept: texts do not depend
// on where a program lies.
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/status.h"
#include "base/text.h"
#include "compiler/graph/graph.h"

namespace oneflow {
namespace {

std::string LayoutText(const std::map<std::string, Sbp>& annotation, const Sharding* sharding) {
  std::string text;
  if (!annotation.empty()) {
    text += " ask{";
    for (const auto& [axis, sbp] : annotation) {
      absl::StrAppend(&text, text.back() == '{' ? "" : ", ", axis, "=", sbp.ToString());
    }
    text += '}';
  }
  if (sharding != nullptr) absl::StrAppend(&text, " <", sharding->ToString(), ">");
  return text;
}

// Reads one line, left to right. The first failure sticks and later reads give empty results.
class LineReader {
 public:
  explicit LineReader(const std::string& line) : line_(line) {}

  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }
  void Fail(const std::string& what) {
    if (ok()) error_ = absl::StrCat(what, " at column ", position_ + 1);
  }
  void SkipSpaces() {
    while (position_ < line_.size() && line_[position_] == ' ') ++position_;
  }
  bool AtEnd() {
    SkipSpaces();
    return position_ >= line_.size();
  }
  // Consumes `text` if it stands next.
  bool Take(const std::string& text) {
    SkipSpaces();
    if (!ok() || line_.compare(position_, text.size(), text) != 0) return false;
    position_ += text.size();
    return true;
  }
  void Expect(const std::string& text) {
    if (!Take(text)) Fail(absl::StrCat("expected '", text, "'"));
  }
  bool Peek(char c) {
    SkipSpaces();
    return ok() && position_ < line_.size() && line_[position_] == c;
  }
  std::string Identifier() {
    SkipSpaces();
    return While(
        [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; },
        "a name");
  }
  int64_t Integer() {
    SkipSpaces();
    int64_t value = 0;
    const std::string digits =
        While([](char c) { return (c >= '0' && c <= '9') || c == '-'; }, "a number");
    if (ok() && !absl::SimpleAtoi(digits, &value)) Fail("bad number");
    return value;
  }
  // "%5"
  ValueId ValueName() {
    Expect("%");
    const int64_t id = Integer();
    if (id < 0 || id >= (int64_t{1} << 31)) Fail("bad value number");
    return ok() ? static_cast<ValueId>(id) : -1;
  }
  std::string QuotedString() {
    SkipSpaces();
    if (!Peek('"')) Fail("expected a quoted string");
    if (!ok()) return "";
    std::optional<std::string> text = ParseQuoted(line_, &position_);
    if (!text.has_value()) Fail("bad string");
    return text.value_or("");
  }
  // Everything up to the next `end`, which is consumed.
  std::string Until(char end) {
    const size_t stop = line_.find(end, position_);
    if (!ok() || stop == std::string::npos) {
      Fail(absl::StrCat("expected '", std::string(1, end), "'"));
      return "";
    }
    const std::string text = line_.substr(position_, stop - position_);
    position_ = stop + 1;
    return text;
  }
  std::string Rest() {
    SkipSpaces();
    const std::string text = line_.substr(std::min(position_, line_.size()));
    position_ = line_.size();
    return text;
  }
  // A number as Attrs prints it: a float is always told apart from an integer.
  AttrValue Number() {
    SkipSpaces();
    const std::string text = While(
        [](char c) {
          return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '+' ||
                 c == '.' || c == ':';
        },
        "a value");
    if (!ok()) return int64_t{0};
    if (const std::optional<int64_t> integer = ParseInt(text)) return *integer;
    const std::optional<double> real = ParseFloat(text);
    if (!real.has_value()) Fail(absl::StrCat("bad value '", text, "'"));
    return real.value_or(0.0);
  }

 private:
  template <typename Predicate>
  std::string While(Predicate predicate, const char* what) {
    if (!ok()) return "";
    const size_t begin = position_;
    while (position_ < line_.size() && predicate(line_[position_])) ++position_;
    if (position_ == begin) Fail(absl::StrCat("expected ", what));
    return line_.substr(begin, position_ - begin);
  }

  const std::string& line_;
  size_t position_ = 0;
  std::string error_;
};

template <typename T>
bool Append(const AttrValue& item, std::vector<T>* list) {
  const T* value = std::get_if<T>(&item);
  if (value != nullptr) list->push_back(*value);
  return value != nullptr;
}

// What ToString(AttrValue) prints.
AttrValue ReadAttrValue(LineReader* reader) {
  if (reader->Take("floats[]")) return std::vector<double>{};
  if (reader->Take("strings[]")) return std::vector<std::string>{};
  if (reader->Peek('"')) return reader->QuotedString();
  if (reader->Take("true")) return true;
  if (reader->Take("false")) return false;
  if (!reader->Take("[")) return reader->Number();
  std::vector<int64_t> ints;
  std::vector<double> floats;
  std::vector<std::string> strings;
  size_t items = 0;
  while (reader->ok() && !reader->Take("]")) {
    if (items++ > 0) reader->Expect(",");
    const AttrValue item = reader->Peek('"') ? reader->QuotedString() : reader->Number();
    if (!Append(item, &ints) && !Append(item, &floats)) Append(item, &strings);
  }
  if (std::max({ints.size(), floats.size(), strings.size()}) != items) {
    reader->Fail("a list of mixed kinds");
  }
  if (!strings.empty()) return strings;
  if (!floats.empty()) return floats;
  return ints;
}

Attrs ReadAttrs(LineReader* reader) {
  Attrs attrs;
  if (!reader->Take("{")) return attrs;
  while (reader->ok() && !reader->Take("}")) {
    if (!attrs.values().empty()) reader->Expect(",");
    const std::string name = reader->Identifier();
    reader->Expect("=");
    attrs.Set(name, ReadAttrValue(reader));
  }
  return attrs;
}

TensorType ReadType(LineReader* reader) {
  TensorType type;
  const std::string name = reader->Identifier();
  const std::optional<DType> dtype = ParseDType(name);
  if (!dtype.has_value()) reader->Fail(absl::StrCat("unknown dtype '", name, "'"));
  type.dtype = dtype.value_or(DType::kInvalid);
  reader->Expect("[");
  while (reader->ok() && !reader->Take("]")) {
    if (!type.shape.empty()) reader->Expect(",");
    type.shape.push_back(reader->Integer());
  }
  return type;
}

// ask{..} and <..> of a value or state.
void ReadLayout(LineReader* reader, size_t rank, std::map<std::string, Sbp>* annotation,
                std::optional<Sharding>* sharding) {
  if (reader->Take("ask{")) {
    bool first = true;
    while (reader->ok() && !reader->Take("}")) {
      if (!first) reader->Expect(",");
      first = false;
      const std::string axis = reader->Identifier();
      reader->Expect("=");
      std::string text = reader->Identifier();
      if (reader->Take("(")) absl::StrAppend(&text, "(", reader->Until(')'), ")");
      const absl::StatusOr<Sbp> sbp = Sbp::Parse(text);
      if (!sbp.ok()) {
        reader->Fail(MessageOf(sbp.status()));
      } else {
        annotation->emplace(axis, *sbp);
      }
    }
  }
  if (!reader->Take("<")) return;
  const std::string text = reader->Until('>');
  // The mesh axes are the members of the last parenthesis at depth one; micro stands before them.
  size_t axes = 1;
  int depth = 0;
  bool member = false;
  for (char c : text) {
    if (c == '(' && ++depth == 1) {
      axes = 1;
      member = false;
    } else if (c == ')') {
      if (depth == 1 && member) ++axes;
      --depth;
    } else if (depth == 1 && c == ',') {
      ++axes;
    } else if (depth == 1) {
      member = true;
    }
  }
  absl::StatusOr<Sharding> parsed = Sharding::Parse(text, axes, rank);
  if (!parsed.ok()) {
    reader->Fail(MessageOf(parsed.status()));
  } else {
    *sharding = *std::move(parsed);
  }
}

}  // namespace

std::string Graph::ToString() const {
  std::string text = absl::StrCat("graph ", Quoted(name_), "\n");
  for (const auto& [name, state] : states_) {
    absl::StrAppend(
        &text, "state ", Quoted(name), " : ", state.type.ToString(),
        LayoutText(state.annotation, state.sharding.has_value() ? &*state.sharding : nullptr),
        "\n");
  }
  for (NodeId id = first_; id != -1; id = next_[id]) {
    const Node& node = nodes_[id];
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      absl::StrAppend(&text, i > 0 ? ", %" : "%", node.outputs[i]);
    }
    absl::StrAppend(&text, node.outputs.empty() ? "" : " = ", node.op);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      absl::StrAppend(&text, i > 0 ? ", %" : "(%", node.inputs[i]);
    }
    if (!node.inputs.empty()) text += ')';
    if (!node.attrs.values().empty()) absl::StrAppend(&text, " ", node.attrs.ToString());
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      const Value& value = values_[node.outputs[i]];
      absl::StrAppend(
          &text, i > 0 ? ", " : " : ", value.type.ToString(),
          LayoutText(value.annotation, value.sharding.sbps.empty() ? nullptr : &value.sharding));
    }
    std::string notes;
    if (!node.scope.empty()) absl::StrAppend(&notes, " scope=", Quoted(node.scope));
    if (node.stage.has_value()) absl::StrAppend(&notes, " stage=", *node.stage);
    if (node.phase != NodePhase::kForward) {
      absl::StrAppend(&notes,
                      " phase=", node.phase == NodePhase::kBackward ? "backward" : "update");
    }
    if (node.forward >= 0 && !nodes_[node.forward].removed &&
        !nodes_[node.forward].outputs.empty()) {
      absl::StrAppend(&notes, " grad_of=%", nodes_[node.forward].outputs[0]);
    }
    if (!notes.empty()) absl::StrAppend(&text, " ;", notes);
    if (node.location != 0) {
      std::string place = locations_[node.location].Short();
      for (char& c : place) {
        if (std::iscntrl(static_cast<unsigned char>(c)) != 0) c = '?';
      }
      absl::StrAppend(&text, "  # ", place);
    }
    text += '\n';
  }
  return text;
}

absl::StatusOr<Graph> Graph::Parse(const std::string& text) {
  Graph graph("");
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  const auto fail = [](size_t number, const std::string& what) {
    return MakeError(ErrorKind::kError, absl::StrCat("graph text, line ", number + 1, ": ", what));
  };
  bool named = false;
  for (size_t number = 0; number < lines.size(); ++number) {
    if (lines[number].empty()) continue;
    LineReader reader(lines[number]);
    if (!named) {
      reader.Expect("graph ");
      graph.name_ = reader.QuotedString();
      if (!reader.AtEnd()) reader.Fail("expected the end of the line");
      if (!reader.ok()) return fail(number, reader.error());
      named = true;
      continue;
    }
    if (reader.Take("state ")) {
      const std::string name = reader.QuotedString();
      reader.Expect(":");
      TensorType type = ReadType(&reader);
      std::map<std::string, Sbp> annotation;
      std::optional<Sharding> sharding;
      ReadLayout(&reader, type.shape.size(), &annotation, &sharding);
      if (!reader.AtEnd()) reader.Fail("expected the end of the line");
      if (!reader.ok()) return fail(number, reader.error());
      const absl::Status added = graph.AddState(name, type, annotation, sharding);
      if (!added.ok()) return fail(number, MessageOf(added));
      continue;
    }
    std::vector<ValueId> outputs;
    while (reader.Peek('%')) {
      outputs.push_back(reader.ValueName());
      if (!reader.Take(",")) break;
    }
    if (!outputs.empty()) reader.Expect("=");
    Node node;
    std::optional<NodePhase> phase;
    node.op = reader.Identifier();
    if (reader.Take("(")) {
      do {
        node.inputs.push_back(reader.ValueName());
      } while (reader.Take(","));
      reader.Expect(")");
    }
    node.attrs = ReadAttrs(&reader);
    std::vector<Value> values(outputs.size());
    for (size_t i = 0; i < outputs.size() && reader.ok(); ++i) {
      reader.Expect(i > 0 ? "," : ":");
      values[i].type = ReadType(&reader);
      std::optional<Sharding> sharding;
      ReadLayout(&reader, values[i].type.shape.size(), &values[i].annotation, &sharding);
      if (sharding.has_value()) values[i].sharding = *std::move(sharding);
    }
    if (reader.Take(";")) {
      if (reader.Take("scope=")) node.scope = reader.QuotedString();
      if (reader.Take("stage=")) {
        const int64_t stage = reader.Integer();
        if (stage < 0 || stage > 1 << 20) reader.Fail("bad stage");
        node.stage = static_cast<int>(stage);
      }
      if (reader.Take("phase=")) {
        const std::string name = reader.Identifier();
        if (name != "backward" && name != "update") reader.Fail("bad phase");
        phase = name == "backward" ? NodePhase::kBackward : NodePhase::kUpdate;
      }
      if (reader.Take("grad_of=")) {
        const ValueId value = reader.ValueName();
        if (value < 0 || value >= static_cast<ValueId>(graph.values_.size()) ||
            graph.values_[value].producer < 0) {
          reader.Fail("grad_of an unknown value");
        } else {
          node.forward = graph.values_[value].producer;
        }
      }
    }
    if (reader.Take("#")) {
      const std::string place = reader.Rest();
      const size_t colon = place.rfind(':');
      Location location;
      if (colon == std::string::npos ||
          !absl::SimpleAtoi(place.substr(colon + 1), &location.line) || location.line <= 0) {
        reader.Fail("bad location");
      } else {
        location.file = place.substr(0, colon);
        node.location = graph.AddLocation(location);
      }
    }
    if (!reader.AtEnd()) reader.Fail("expected the end of the line");
    if (!reader.ok()) return fail(number, reader.error());

    auto types = graph.InferNode(&node);
    if (!types.ok()) return fail(number, MessageOf(types.status()));
    if (types->size() != outputs.size()) {
      return fail(number, absl::StrCat(node.op, " has ", types->size(), " outputs"));
    }
    const NodeId id = static_cast<NodeId>(graph.nodes_.size());
    for (size_t i = 0; i < outputs.size(); ++i) {
      const ValueId value = outputs[i];
      if (!(values[i].type == (*types)[i])) {
        return fail(number, absl::StrCat("%", value, " is written as ", values[i].type.ToString(),
                                         " but ", node.op, " gives ", (*types)[i].ToString()));
      }
      // The bound keeps the memory of a parse in proportion to its text.
      if (static_cast<size_t>(value) >= text.size()) {
        return fail(number, absl::StrCat("value number ", value, " is too large"));
      }
      if (static_cast<size_t>(value) >= graph.values_.size()) {
        graph.values_.resize(value + 1);
        graph.uses_.resize(value + 1);
      }
      if (graph.values_[value].producer >= 0) {
        return fail(number, absl::StrCat("%", value, " is made twice"));
      }
      values[i].producer = id;
      values[i].output = static_cast<int>(i);
      graph.values_[value] = std::move(values[i]);
    }
    node.id = id;
    node.outputs = outputs;
    node.phase = phase.has_value() ? *phase : graph.PhaseOf(node);
    graph.nodes_.push_back(std::move(node));
    graph.Link(id, std::nullopt);
    for (ValueId input : graph.nodes_[id].inputs) graph.AddUse(input, id);
  }
  if (!named) return fail(0, "expected 'graph'");
  return graph;
}

}  // namespace oneflow
