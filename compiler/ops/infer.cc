#include "compiler/ops/infer.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status.h"

namespace oneflow {
namespace {

bool HasKind(const AttrValue& value, const std::string& kind) {
  if (kind == "int") return std::holds_alternative<int64_t>(value);
  if (kind == "float") return std::holds_alternative<double>(value);
  if (kind == "string") return std::holds_alternative<std::string>(value);
  if (kind == "bool") return std::holds_alternative<bool>(value);
  if (kind == "ints") return std::holds_alternative<std::vector<int64_t>>(value);
  if (kind == "floats") return std::holds_alternative<std::vector<double>>(value);
  if (kind == "strings") return std::holds_alternative<std::vector<std::string>>(value);
  if (kind == "dtype") {
    const std::string* name = std::get_if<std::string>(&value);
    return name != nullptr && ParseDType(*name).has_value();
  }
  if (kind == "enum") return std::holds_alternative<std::string>(value);
  OF_CHECK(false) << "unknown attribute kind " << kind;
  return false;
}

// "f32, f64 or bf16".
std::string Alternatives(const std::vector<std::string>& items) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) absl::StrAppend(&text, i + 1 == items.size() ? " or " : ", ");
    absl::StrAppend(&text, items[i]);
  }
  return text;
}

// The value of an enum is one of its words.
absl::Status CheckWord(const OpDef& def, const AttrDef& attr, const std::string& word) {
  std::vector<std::string> quoted;
  for (const std::string& allowed : attr.words) {
    if (allowed == word) return absl::OkStatus();
    quoted.push_back(absl::StrCat("\"", allowed, "\""));
  }
  return MakeError(ErrorKind::kError,
                   absl::StrCat(def.name, ": attribute ", attr.name, " is \"", word,
                                "\" but must be ", Alternatives(quoted), ": ", attr.doc));
}

// "x, y" or "tensors..." or "p, g[, m]".
std::string Signature(const OpDef& def) {
  std::string text;
  for (const ArgDef& arg : def.inputs) {
    const std::string separator = text.empty() ? "" : ", ";
    if (arg.optional) {
      absl::StrAppend(&text, "[", separator, arg.name, "]");
    } else {
      absl::StrAppend(&text, separator, arg.name, arg.variadic ? "..." : "");
    }
  }
  return text;
}

// The schema of input i; a variadic one stands for all from it on.
const ArgDef& InputDef(const OpDef& def, size_t i) {
  return def.inputs[std::min(i, def.inputs.size() - 1)];
}

// "b", or "tensors[2]".
std::string InputName(const OpDef& def, size_t i) {
  const ArgDef& arg = InputDef(def, i);
  return arg.variadic ? absl::StrCat(arg.name, "[", i + 1 - def.inputs.size(), "]") : arg.name;
}

// The first input that is declared with this type variable.
std::optional<size_t> FirstOfType(const OpDef& def, const std::string& variable, size_t inputs) {
  for (size_t i = 0; i < inputs; ++i) {
    if (InputDef(def, i).type == variable) return i;
  }
  return std::nullopt;
}

// What a type variable is in this call: the dtype of its first input, or what its source gives.
DType BoundType(const OpDef& def, const TypeDef& variable, const std::vector<TensorType>& inputs) {
  const std::string& binder = variable.derive == nullptr ? variable.name : variable.source;
  const std::optional<size_t> first = FirstOfType(def, binder, inputs.size());
  OF_CHECK(first.has_value()) << def.name << " has no input of type " << binder;
  const DType dtype = inputs[*first].dtype;
  return variable.derive == nullptr ? dtype : variable.derive(dtype);
}

// All inputs of one type variable have one dtype, those of a derived one what its source gives.
absl::Status CheckTypes(const OpDef& def, const std::vector<TensorType>& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TypeDef* variable = FindType(def, InputDef(def, i).type);
    if (variable == nullptr) continue;
    const DType bound = BoundType(def, *variable, inputs);
    if (inputs[i].dtype == bound) continue;
    const bool derived = variable->derive != nullptr;
    const size_t first =
        *FirstOfType(def, derived ? variable->source : variable->name, inputs.size());
    const std::string a = InputName(def, first);
    const std::string b = InputName(def, i);
    return MakeError(
        ErrorKind::kDType,
        absl::StrCat(def.name, ": ", a, " is ", inputs[first].ToString(), " and ", b, " is ",
                     inputs[i].ToString(),
                     derived
                         ? absl::StrCat(", but beside ", std::string(NameOf(inputs[first].dtype)),
                                        " ", b, " must be ", std::string(NameOf(bound)),
                                        ": convert it first with .to(...)")
                         : absl::StrCat(", but both must have one dtype: convert one first, "
                                        "as in ",
                                        b, ".to(", a, ".dtype)")));
  }
  return absl::OkStatus();
}

// The dtype of an output.
DType OutputType(const OpDef& def, const ArgDef& output, const std::vector<TensorType>& inputs,
                 const Attrs& attrs) {
  if (output.type.empty()) return output.dtypes[0];
  const TypeDef* variable = FindType(def, output.type);
  return variable != nullptr ? BoundType(def, *variable, inputs)
                             : *ParseDType(attrs.String(output.type));
}

}  // namespace

absl::Status CheckAttrs(const OpDef& def, const Attrs& attrs) {
  for (const auto& [name, value] : attrs.values()) {
    const bool known = std::any_of(def.attrs.begin(), def.attrs.end(),
                                   [&](const AttrDef& attr) { return attr.name == name; });
    if (!known) {
      return MakeError(
          ErrorKind::kError,
          absl::StrCat(def.name, ": there is no attribute ", name, "; it takes ",
                       def.attrs.empty() ? "none"
                                         : absl::StrJoin(def.attrs, ", ",
                                                         [](std::string* out, const AttrDef& attr) {
                                                           absl::StrAppend(out, attr.name);
                                                         })));
    }
  }
  for (const AttrDef& attr : def.attrs) {
    const auto found = attrs.values().find(attr.name);
    if (found == attrs.values().end()) {
      return MakeError(ErrorKind::kError, absl::StrCat(def.name, ": attribute ", attr.name,
                                                       " is missing: ", attr.doc));
    }
    if (!HasKind(found->second, attr.kind)) {
      return MakeError(ErrorKind::kError,
                       absl::StrCat(def.name, ": attribute ", attr.name, " must be of kind ",
                                    attr.kind, ": ", attr.doc));
    }
    if (attr.kind == "enum") {
      OF_RETURN_IF_ERROR(CheckWord(def, attr, std::get<std::string>(found->second)));
    }
  }
  return absl::OkStatus();
}

absl::Status CompleteAttrs(const OpDef& def, Attrs* attrs) {
  for (const AttrDef& attr : def.attrs) {
    const auto found = attrs->values().find(attr.name);
    if (found == attrs->values().end()) {
      if (attr.default_value.has_value()) attrs->Set(attr.name, *attr.default_value);
    } else if (const int64_t* integer = std::get_if<int64_t>(&found->second);
               integer != nullptr && attr.kind == "float") {
      attrs->Set(attr.name, static_cast<double>(*integer));
    }
  }
  return CheckAttrs(def, *attrs);
}

absl::Status CheckInputs(const OpDef& def, const std::vector<TensorType>& inputs) {
  const size_t declared = def.inputs.size();
  size_t least = 0;
  for (const ArgDef& arg : def.inputs) least += arg.optional ? 0 : 1;
  const bool variadic = declared > 0 && def.inputs.back().variadic;
  if (inputs.size() < least || (!variadic && inputs.size() > declared)) {
    return MakeError(ErrorKind::kError,
                     absl::StrCat(def.name, ": takes (", Signature(def), "), got ", inputs.size(),
                                  inputs.size() == 1 ? " tensor" : " tensors"));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ArgDef& arg = InputDef(def, i);
    if (std::find(arg.dtypes.begin(), arg.dtypes.end(), inputs[i].dtype) != arg.dtypes.end()) {
      continue;
    }
    const std::string accepted = absl::StrJoin(
        arg.dtypes, " or ", [](std::string* out, DType dtype) { out->append(NameOf(dtype)); });
    return MakeError(ErrorKind::kDType,
                     absl::StrCat(def.name, ": argument ", arg.name, " is ", inputs[i].ToString(),
                                  " but must be ", accepted, " (", arg.doc,
                                  "): convert it first with .to(...)"));
  }
  return CheckTypes(def, inputs);
}

absl::StatusOr<std::vector<TensorType>> InferOutputs(const OpDef& def,
                                                     const std::vector<TensorType>& inputs,
                                                     Attrs* attrs) {
  OF_RETURN_IF_ERROR(CompleteAttrs(def, attrs));
  return InferOutputs(def, inputs, std::as_const(*attrs));
}

absl::StatusOr<std::vector<TensorType>> InferOutputs(const OpDef& def,
                                                     const std::vector<TensorType>& inputs,
                                                     const Attrs& attrs) {
  OF_RETURN_IF_ERROR(CheckAttrs(def, attrs));
  OF_RETURN_IF_ERROR(CheckInputs(def, inputs));
  const OpContext context{attrs, inputs, {}};
  OF_ASSIGN_OR_RETURN(Shapes shapes, def.shape(context));
  const bool variadic = !def.outputs.empty() && def.outputs.back().variadic;
  OF_CHECK(variadic || shapes.size() <= def.outputs.size())
      << def.name << " infers too many outputs";
  std::vector<TensorType> outputs;
  outputs.reserve(shapes.size());
  for (Shape& shape : shapes) {
    const ArgDef& output = def.outputs[std::min(outputs.size(), def.outputs.size() - 1)];
    outputs.push_back({OutputType(def, output, inputs, attrs), std::move(shape)});
    const TensorType& type = outputs.back();
    // The most that NumPy and sharding rules know.
    constexpr size_t kMostDims = 64;
    if (type.shape.size() > kMostDims) {
      return MakeError(ErrorKind::kShape,
                       absl::StrCat(def.name, ": the result would have ", type.shape.size(),
                                    " dims; at most ", kMostDims, " are supported"));
    }
    const std::optional<int64_t> elements = CheckedNumElements(type.shape);
    // 2^56 elements of at most 8 bytes keep every byte count in int64.
    if (!elements.has_value() || *elements > (int64_t{1} << 56)) {
      return MakeError(ErrorKind::kShape, absl::StrCat(def.name, ": the result would be ",
                                                       type.ToString(), ", which is too large"));
    }
  }
  return outputs;
}

}  // namespace oneflow
