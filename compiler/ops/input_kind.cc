#include "compiler/ops/input_kind.h"

#include "base/check.h"

namespace oneflow {
namespace {

constexpr InputKind kAll[] = {InputKind::kBatch, InputKind::kWhole, InputKind::kScalar};

}  // namespace

std::string NameOf(InputKind kind) {
  switch (kind) {
    case InputKind::kBatch:
      return "batch";
    case InputKind::kWhole:
      return "whole";
    case InputKind::kScalar:
      return "scalar";
  }
  OF_CHECK(false) << "no input kind " << static_cast<int>(kind);
  return "";
}

std::vector<std::string> InputKindNames() {
  std::vector<std::string> names;
  for (const InputKind kind : kAll) names.push_back(NameOf(kind));
  return names;
}

InputKind InputKindOf(const Attrs& attrs) {
  const std::string& name = attrs.String("kind");
  for (const InputKind kind : kAll) {
    if (NameOf(kind) == name) return kind;
  }
  OF_CHECK(false) << "the schema lets input kind \"" << name << "\" pass";
  return InputKind::kBatch;
}

}  // namespace oneflow
