#include "compiler/parallel/held_decisions.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <set>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/text.h"

namespace oneflow {
namespace {

constexpr std::string_view kHeader = "oneflow decisions 1";
constexpr std::string_view kFamily = "oneflow decisions ";
constexpr std::string_view kAdvice =
    "; compile without the decisions and save those of the new plan";

std::string HexText(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(value));
  return text;
}

std::string MoveText(const HeldMove& move, const std::vector<Axis>& axes) {
  std::string text =
      absl::StrCat("move ", move.type.ToString(), " <", move.from.ToString(axes), ">");
  for (const ReshardStep& step : move.steps) {
    absl::StrAppend(&text, " ", step.axis < 0 ? "*" : axes[step.axis].name);
    if (step.group > 0) absl::StrAppend(&text, "/", step.group);
    absl::StrAppend(&text, " <", step.to.ToString(axes), ">");
  }
  return text;
}

// Reads one line from left to right; the first failure sticks and later reads give empty results.
class Cursor {
 public:
  explicit Cursor(std::string_view line) : rest_(line) {}

  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }
  void Fail(const std::string& what) {
    if (ok()) error_ = what;
  }
  bool AtEnd() {
    SkipSpaces();
    return rest_.empty();
  }
  // The next word; words end at spaces.
  std::string Word(const char* what) {
    SkipSpaces();
    const size_t end = std::min(rest_.find(' '), rest_.size());
    if (end == 0) Fail(absl::StrCat("expected ", what));
    return Consume(end);
  }
  std::string String(const char* what) {
    SkipSpaces();
    size_t end = 0;
    std::optional<std::string> text;
    if (!rest_.empty() && rest_[0] == '"') text = ParseQuoted(rest_, &end);
    if (!text.has_value()) {
      Fail(absl::StrCat("expected ", what, " in quotes"));
      return "";
    }
    Consume(end);
    return *text;
  }
  // What stands between two characters, the first of which comes next.
  std::string Between(char open, char close, const char* what) {
    SkipSpaces();
    const size_t end = rest_.find(close);
    if (rest_.empty() || rest_[0] != open || end == std::string_view::npos) {
      Fail(absl::StrCat("expected ", what, " in ", std::string(1, open), std::string(1, close)));
      return "";
    }
    const std::string text = Consume(end + 1);
    return text.substr(1, text.size() - 2);
  }
  // What follows `# ` up to the end of the line; empty if nothing does.
  std::string Comment() {
    if (AtEnd()) return "";
    const std::string text = Consume(rest_.size());
    if (text[0] != '#') Fail("only a comment may follow the signatures");
    return text.substr(std::min<size_t>(text.size(), 2));
  }
  int64_t Unsigned(const std::string& text, const char* what) {
    const std::optional<int64_t> value = ParseInt(text);
    if (!value.has_value() || *value < 0 || *value >= int64_t{1} << 31) {
      Fail(absl::StrCat("expected ", what, ", not '", text, "'"));
    }
    return value.value_or(0);
  }
  TensorType Type() {
    const std::string text = Word("a type");
    const size_t open = text.find('[');
    TensorType type;
    const auto dtype = ParseDType(std::string_view(text).substr(0, open));
    bool good = dtype.has_value() && open != std::string::npos && text.back() == ']';
    if (good) type.dtype = *dtype;
    for (size_t begin = open + 1; good && begin + 1 < text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size() - 1);
      const std::optional<int64_t> extent =
          ParseInt(std::string_view(text).substr(begin, end - begin));
      good = extent.has_value();
      type.shape.push_back(extent.value_or(0));
      begin = end + 1;
    }
    good = good && CheckedNumElements(type.shape).has_value() && type.shape.size() < 64;
    if (!good) Fail(absl::StrCat("expected a type like f32[8,4], not '", text, "'"));
    return good ? type : TensorType{};
  }
  // A canonical layout of that type in <>.
  Sharding Layout(const std::vector<Axis>& axes, const TensorType& type) {
    const std::string text = Between('<', '>', "a layout");
    if (!ok()) return {};
    absl::StatusOr<Sharding> parsed = Sharding::Parse(text, axes.size(), type.shape.size());
    if (!parsed.ok() || parsed->sbps.size() != axes.size()) {
      Fail(absl::StrCat("'", text, "' is no layout of ", type.ToString(),
                        " on the axes of the mesh",
                        parsed.ok() ? "" : absl::StrCat(": ", MessageOf(parsed.status()))));
      return {};
    }
    Sharding sharding = Canonical(*std::move(parsed), axes, type.shape);
    if (const absl::Status legal = CheckSharding(sharding, axes, type.shape); !legal.ok()) {
      Fail(MessageOf(legal));
    }
    return sharding;
  }

 private:
  void SkipSpaces() {
    while (!rest_.empty() && rest_[0] == ' ') rest_.remove_prefix(1);
  }
  std::string Consume(size_t size) {
    const std::string text(rest_.substr(0, size));
    rest_.remove_prefix(std::min(size, rest_.size()));
    return text;
  }

  std::string_view rest_;
  std::string error_;
};

class DecisionsParser {
 public:
  absl::StatusOr<HeldDecisions> Run(const std::string& text) {
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      ++line_;
      OF_RETURN_IF_ERROR(Line(std::string_view(text).substr(begin, end - begin)));
      begin = end + 1;
    }
    if (stage_ != kItems) {
      return DecisionsError(line_,
                            "the text ends before the lines `graph`, `mesh`, `micro_batches`");
    }
    return std::move(held_);
  }

 private:
  enum Stage { kFirst, kGraph, kMesh, kMicro, kItems };

  absl::Status Line(std::string_view line) {
    if (stage_ == kFirst) {
      if (line == kHeader) {
        stage_ = kGraph;
        return absl::OkStatus();
      }
      return DecisionsError(
          line_,
          line.substr(0, kFamily.size()) == kFamily
              ? absl::StrCat("version '", std::string(line.substr(kFamily.size())),
                             "' is not known here, 1 is", std::string(kAdvice))
              : absl::StrCat("no decisions: the first line must be '", std::string(kHeader), "'"));
    }
    Cursor at(line);
    if (at.AtEnd() || line[0] == '#') return absl::OkStatus();
    const std::string kind = at.Word("a line");
    if (stage_ == kItems && kind == "state") {
      State(&at);
    } else if (stage_ == kItems && kind == "node") {
      Node(&at);
    } else if (stage_ == kItems && kind == "move") {
      Move(&at);
    } else if (stage_ == kGraph && kind == "graph") {
      Graph(&at);
    } else if (stage_ == kMesh && kind == "mesh") {
      Mesh(&at);
    } else if (stage_ == kMicro && kind == "micro_batches") {
      held_.micro_batches = static_cast<int>(at.Unsigned(at.Word("a number"), "a number"));
      if (held_.micro_batches < 1) at.Fail("micro_batches must be at least 1");
      oneflow::Mesh mesh;
      mesh.axes = held_.mesh;
      axes_ = mesh.LayoutAxes(std::max(held_.micro_batches, 1));
      stage_ = kItems;
    } else {
      constexpr const char* kExpected[] = {"", "graph", "mesh", "micro_batches",
                                           "state, node or move"};
      at.Fail(absl::StrCat("expected a line `", kExpected[stage_], "`, not '", kind, "'"));
    }
    if (at.ok() && !at.AtEnd()) at.Fail("something follows the end of the line");
    return at.ok() ? absl::OkStatus() : DecisionsError(line_, at.error());
  }

  void Graph(Cursor* at) {
    held_.name = at->String("the graph's name");
    const std::string key = at->Word("the graph's key");
    uint64_t value = 0;
    bool good = key.size() == 16;
    for (char c : key) {
      const bool digit = c >= '0' && c <= '9';
      good = good && (digit || (c >= 'a' && c <= 'f'));
      value = value << 4 | static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10) % 16;
    }
    if (!good) at->Fail("the graph's key is 16 hexadecimal digits");
    held_.graph = value;
    stage_ = kMesh;
  }

  void Mesh(Cursor* at) {
    std::set<std::string> seen;
    while (at->ok() && !at->AtEnd()) {
      const std::string axis = at->Word("an axis");
      const size_t colon = axis.find(':');
      const std::string name = axis.substr(0, colon);
      const int64_t size = at->Unsigned(colon == std::string::npos ? "" : axis.substr(colon + 1),
                                        "an axis like dp:2");
      if (at->ok() && (name.empty() || size < 1 || name == "micro" || !seen.insert(name).second)) {
        at->Fail(absl::StrCat("'", axis, "' is no axis of a mesh"));
      }
      held_.mesh.push_back({name, size});
    }
    stage_ = kMicro;
  }

  void State(Cursor* at) {
    const std::string name = at->String("the state's name");
    HeldDecisions::State state;
    state.line = line_;
    state.type = at->Type();
    state.sharding = at->Layout(axes_, state.type);
    if (at->ok() && !held_.states.emplace(name, std::move(state)).second) {
      at->Fail(absl::StrCat("the state \"", name, "\" stands twice"));
    }
  }

  void Node(Cursor* at) {
    const std::string value = at->Word("a value");
    if (value[0] != '%') at->Fail(absl::StrCat("expected a value like %12, not '", value, "'"));
    const ValueId id =
        static_cast<ValueId>(at->Unsigned(value.substr(value.empty() ? 0 : 1), "a value like %12"));
    HeldDecisions::Choice choice;
    choice.line = line_;
    choice.op = at->Word("an op");
    const std::string stage = at->Word("a stage");
    if (stage[0] != '@') at->Fail(absl::StrCat("expected a stage like @0, not '", stage, "'"));
    choice.stage =
        static_cast<int>(at->Unsigned(stage.substr(stage.empty() ? 0 : 1), "a stage like @0"));
    const std::string body = at->Between('{', '}', "signatures");
    for (size_t begin = 0; at->ok() && begin < body.size();) {
      const size_t end = std::min(body.find(';', begin), body.size());
      Cursor item(std::string_view(body).substr(begin, end - begin));
      const std::string axis = item.Word("an axis");
      std::string signature = item.Word("a signature");
      if (!item.AtEnd()) absl::StrAppend(&signature, " ", item.Word("a number"));
      if (!item.AtEnd()) item.Fail("something follows the signature");
      if (!item.ok()) at->Fail(item.error());
      choice.signatures.emplace_back(axis, signature);
      begin = end + 1;
    }
    choice.comment = at->Comment();
    if (at->ok() && !held_.nodes.emplace(id, std::move(choice)).second) {
      at->Fail(absl::StrCat("%", id, " stands twice"));
    }
  }

  void Move(Cursor* at) {
    HeldMove move;
    move.line = line_;
    move.type = at->Type();
    move.from = at->Layout(axes_, move.type);
    while (at->ok() && !at->AtEnd()) {
      std::string name = at->Word("an axis");
      ReshardStep step;
      if (const size_t slash = name.find('/'); slash != std::string::npos) {
        if (!absl::SimpleAtoi(name.substr(slash + 1), &step.group) || step.group < 2 ||
            name[0] == '*')
          at->Fail(absl::StrCat(
              "expected an axis, or one and the devices of a group as in dp/8, got '", name, "'"));
        name.resize(slash);
      }
      const auto axis = std::find_if(axes_.begin(), axes_.end(),
                                     [&](const Axis& other) { return other.name == name; });
      if (axis != axes_.end()) {
        step.axis = static_cast<int>(axis - axes_.begin());
      } else if (name != "*") {
        at->Fail(absl::StrCat("the mesh has no axis '", name, "'"));
      }
      step.to = at->Layout(axes_, move.type);
      move.steps.push_back(std::move(step));
    }
    if (move.steps.empty()) at->Fail("a move needs a step");
    held_.moves.push_back(std::move(move));
  }

  HeldDecisions held_;
  std::vector<Axis> axes_;
  Stage stage_ = kFirst;
  int line_ = 0;
};

// Kind and, where it may change a layout, value of an attribute.
std::string AttrKey(const std::string& name, const AttrValue& value) {
  const bool is_float =
      std::holds_alternative<double>(value) || std::holds_alternative<std::vector<double>>(value);
  return is_float || name == "seed" || name == "key" ? name
                                                     : absl::StrCat(name, "=", ToString(value));
}

}  // namespace

absl::Status DecisionsError(int line, const std::string& what) {
  return MakeError(ErrorKind::kPlan, line > 0 ? absl::StrCat("decisions, line ", line, ": ", what)
                                              : absl::StrCat("decisions: ", what));
}

std::string HeldDecisions::ToString() const {
  oneflow::Mesh shape;
  shape.axes = mesh;
  const std::vector<Axis> axes = shape.LayoutAxes(micro_batches);
  std::string text =
      absl::StrCat(std::string(kHeader), "\ngraph ", Quoted(name), " ", HexText(graph), "\nmesh");
  for (const Axis& axis : mesh) absl::StrAppend(&text, " ", axis.name, ":", axis.size);
  absl::StrAppend(&text, "\nmicro_batches ", micro_batches, "\n");
  for (const auto& [state, held] : states) {
    absl::StrAppend(&text, "state ", Quoted(state), " ", held.type.ToString(), " <",
                    held.sharding.ToString(axes), ">\n");
  }
  for (const auto& [value, choice] : nodes) {
    absl::StrAppend(&text, "node %", value, " ", choice.op, " @", choice.stage, " {");
    const char* separator = "";
    for (const auto& [axis, signature] : choice.signatures) {
      absl::StrAppend(&text, separator, axis, " ", signature);
      separator = "; ";
    }
    absl::StrAppend(&text, "}", choice.comment.empty() ? "" : "  # ", choice.comment, "\n");
  }
  std::set<std::string> lines;
  for (const HeldMove& move : moves) lines.insert(MoveText(move, axes));
  for (const std::string& line : lines) absl::StrAppend(&text, line, "\n");
  return text;
}

absl::StatusOr<HeldDecisions> HeldDecisions::Parse(const std::string& text) {
  return DecisionsParser().Run(text);
}

uint64_t GraphKey(const Graph& graph) {
  Hasher hasher;
  const auto add_value = [&](ValueId id) {
    const Value& value = graph.value(id);
    hasher.Integer(static_cast<uint64_t>(id)).Text(value.type.ToString());
    for (const auto& [axis, sbp] : value.annotation) hasher.Text(axis).Text(sbp.ToString());
  };
  for (NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    hasher.Text(node.op).Integer(static_cast<uint64_t>(node.stage.value_or(-1)));
    hasher.Integer(static_cast<uint64_t>(node.forward)).Integer(node.inputs.size());
    for (ValueId input : node.inputs) add_value(input);
    hasher.Integer(node.outputs.size());
    for (ValueId output : node.outputs) add_value(output);
    for (const auto& [name, value] : node.attrs.values()) hasher.Text(AttrKey(name, value));
  }
  return hasher.value();
}

}  // namespace oneflow
