#include "compiler/ops/op_def.h"

#include <utility>

namespace oneflow {

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

OpDef& OpDef::In(std::string arg, DTypeSet dtypes, std::string text) {
  inputs.push_back({std::move(arg), std::move(dtypes), std::move(text), false, false});
  return *this;
}

OpDef& OpDef::OptionalIn(std::string arg, DTypeSet dtypes, std::string text) {
  inputs.push_back({std::move(arg), std::move(dtypes), std::move(text), false, true});
  return *this;
}

OpDef& OpDef::VariadicIn(std::string arg, DTypeSet dtypes, std::string text) {
  inputs.push_back({std::move(arg), std::move(dtypes), std::move(text), true, false});
  return *this;
}

OpDef& OpDef::Out(std::string arg, std::string text) {
  outputs.push_back({std::move(arg), {}, std::move(text), false, false});
  return *this;
}

OpDef& OpDef::VariadicOut(std::string arg, std::string text) {
  outputs.push_back({std::move(arg), {}, std::move(text), true, false});
  return *this;
}

OpDef& OpDef::Attr(std::string attr, std::string kind, std::optional<AttrValue> def,
                   std::string text) {
  attrs.push_back({std::move(attr), std::move(kind), std::move(def), std::move(text)});
  return *this;
}

OpDef& OpDef::Sharding(std::string text) {
  rule = [text = std::move(text)](const OpContext&) { return text; };
  return *this;
}

}  // namespace oneflow
