#include "compiler/ops/infer.h"

#include <algorithm>
#include <string>

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
  OF_CHECK(false) << "unknown attribute kind " << kind;
  return false;
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

}  // namespace

absl::Status CheckAttrs(const OpDef& def, Attrs* attrs) {
  for (const auto& [name, value] : attrs->values()) {
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
    if (!attrs->Has(attr.name)) {
      if (!attr.default_value.has_value()) {
        return MakeError(ErrorKind::kError, absl::StrCat(def.name, ": attribute ", attr.name,
                                                         " is missing: ", attr.doc));
      }
      attrs->Set(attr.name, *attr.default_value);
      continue;
    }
    const AttrValue& value = attrs->values().at(attr.name);
    if (attr.kind == "float") {
      if (const int64_t* integer = std::get_if<int64_t>(&value)) {
        attrs->Set(attr.name, static_cast<double>(*integer));
        continue;
      }
    }
    if (!HasKind(value, attr.kind)) {
      return MakeError(ErrorKind::kError,
                       absl::StrCat(def.name, ": attribute ", attr.name, " must be of kind ",
                                    attr.kind, ": ", attr.doc));
    }
  }
  return absl::OkStatus();
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
    const ArgDef& arg = def.inputs[std::min(i, declared - 1)];
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
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TensorType>> InferOutputs(const OpDef& def,
                                                     const std::vector<TensorType>& inputs,
                                                     Attrs* attrs) {
  OF_RETURN_IF_ERROR(CheckAttrs(def, attrs));
  OF_RETURN_IF_ERROR(CheckInputs(def, inputs));
  const OpContext context{*attrs, inputs, {}};
  OF_ASSIGN_OR_RETURN(std::vector<TensorType> outputs, def.shape(context));
  const bool variadic = !def.outputs.empty() && def.outputs.back().variadic;
  OF_CHECK(variadic || outputs.size() <= def.outputs.size())
      << def.name << " infers too many outputs";
  for (const TensorType& type : outputs) {
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
