#include "compiler/ops/op_def.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace oneflow {

const TypeDef* FindType(const OpDef& op, const std::string& name) {
  const auto it = std::find_if(op.types.begin(), op.types.end(),
                               [&](const TypeDef& type) { return type.name == name; });
  return it == op.types.end() ? nullptr : &*it;
}

DTypeSet AnyFloat() { return {DType::kF32, DType::kF64, DType::kBF16, DType::kF16}; }

DTypeSet SingleFloat() { return {DType::kF32}; }

DTypeSet FullFloat() { return {DType::kF32, DType::kF64}; }

DTypeSet AnyInt() { return {DType::kI64, DType::kI32, DType::kI16, DType::kI8, DType::kU8}; }

DTypeSet AnyNumber() {
  DTypeSet set = AnyFloat();
  for (DType dtype : AnyInt()) set.push_back(dtype);
  return set;
}

DTypeSet AnyDType() {
  DTypeSet set = AnyNumber();
  set.push_back(DType::kBool);
  return set;
}

OpDef& OpDef::Type(std::string variable, DTypeSet dtypes) {
  types.push_back({std::move(variable), std::move(dtypes), "", nullptr});
  return *this;
}

OpDef& OpDef::Type(std::string variable, std::string source, DType (*derive)(DType)) {
  const TypeDef* of = FindType(*this, source);
  OF_CHECK(of != nullptr) << name << ": type " << variable << " stands before its source "
                          << source;
  DTypeSet derived;
  for (const DType dtype : of->dtypes) {
    const DType result = derive(dtype);
    if (std::find(derived.begin(), derived.end(), result) == derived.end()) {
      derived.push_back(result);
    }
  }
  types.push_back({std::move(variable), std::move(derived), std::move(source), derive});
  return *this;
}

ArgDef OpDef::Arg(std::string arg, ArgType type, std::string text) const {
  const TypeDef* variable = FindType(*this, type.name);
  return {std::move(arg), std::move(type.name),
          variable != nullptr ? variable->dtypes : std::move(type.dtypes), std::move(text)};
}

OpDef& OpDef::In(std::string arg, ArgType type, std::string text) {
  inputs.push_back(Arg(std::move(arg), std::move(type), std::move(text)));
  return *this;
}

OpDef& OpDef::OptionalIn(std::string arg, ArgType type, std::string text) {
  In(std::move(arg), std::move(type), std::move(text));
  inputs.back().optional = true;
  return *this;
}

OpDef& OpDef::VariadicIn(std::string arg, ArgType type, std::string text) {
  In(std::move(arg), std::move(type), std::move(text));
  inputs.back().variadic = true;
  return *this;
}

OpDef& OpDef::Out(std::string arg, ArgType type, std::string text) {
  outputs.push_back(Arg(std::move(arg), std::move(type), std::move(text)));
  return *this;
}

OpDef& OpDef::VariadicOut(std::string arg, ArgType type, std::string text) {
  Out(std::move(arg), std::move(type), std::move(text));
  outputs.back().variadic = true;
  return *this;
}

OpDef& OpDef::Attr(std::string attr, std::string kind, std::optional<AttrValue> def,
                   std::string text) {
  attrs.push_back({std::move(attr), std::move(kind), std::move(def), std::move(text)});
  return *this;
}

OpDef& OpDef::Enum(std::string attr, std::vector<std::string> words, std::optional<std::string> def,
                   std::string text) {
  attrs.push_back({std::move(attr), "enum", std::move(def), std::move(text), std::move(words)});
  return *this;
}

OpDef& OpDef::Sharding(std::string text) {
  rule = [text = std::move(text)](const OpContext&) { return text; };
  return *this;
}

}  // namespace oneflow
