#include "plan/attrs.h"

#include <string_view>

#include "base/check.h"
#include "base/text.h"

namespace oneflow {
namespace {

constexpr std::string_view kKinds[] = {"int",  "float",  "string", "bool",
                                       "ints", "floats", "strings"};

template <typename T>
const T& Get(const std::map<std::string, AttrValue>& values, const std::string& name,
             std::string_view kind) {
  const auto found = values.find(name);
  OF_CHECK(found != values.end()) << "no attribute '" << name << "'";
  const T* value = std::get_if<T>(&found->second);
  OF_CHECK(value != nullptr) << "attribute '" << name << "' is read as " << kind << " but holds "
                             << kKinds[found->second.index()];
  return *value;
}

template <typename T, typename Print>
std::string ListText(const std::vector<T>& list, const char* prefix, const Print& print) {
  // Only an empty list needs its type said; elements show theirs.
  std::string text = list.empty() ? prefix : "";
  text += '[';
  for (size_t i = 0; i < list.size(); ++i) {
    if (i > 0) text += ',';
    text += print(list[i]);
  }
  return text + ']';
}

}  // namespace

std::string ToString(const AttrValue& value) {
  struct Printer {
    std::string operator()(int64_t v) const { return std::to_string(v); }
    std::string operator()(double v) const { return FloatText(v); }
    std::string operator()(const std::string& v) const { return Quoted(v); }
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(const std::vector<int64_t>& v) const { return ListText(v, "", *this); }
    std::string operator()(const std::vector<double>& v) const {
      return ListText(v, "floats", *this);
    }
    std::string operator()(const std::vector<std::string>& v) const {
      return ListText(v, "strings", *this);
    }
  };
  return std::visit(Printer{}, value);
}

Attrs Attrs::FromProto(const google::protobuf::RepeatedPtrField<plan::AttrProto>& attrs) {
  Attrs result;
  for (const plan::AttrProto& attr : attrs) {
    switch (attr.value_case()) {
      case plan::AttrProto::kI:
        result.Set(attr.name(), static_cast<int64_t>(attr.i()));
        break;
      case plan::AttrProto::kF:
        result.Set(attr.name(), attr.f());
        break;
      case plan::AttrProto::kS:
        result.Set(attr.name(), attr.s());
        break;
      case plan::AttrProto::kB:
        result.Set(attr.name(), attr.b());
        break;
      case plan::AttrProto::kInts:
        result.Set(attr.name(),
                   std::vector<int64_t>(attr.ints().v().begin(), attr.ints().v().end()));
        break;
      case plan::AttrProto::kFloats:
        result.Set(attr.name(),
                   std::vector<double>(attr.floats().v().begin(), attr.floats().v().end()));
        break;
      case plan::AttrProto::kStrings:
        result.Set(attr.name(),
                   std::vector<std::string>(attr.strings().v().begin(), attr.strings().v().end()));
        break;
      case plan::AttrProto::VALUE_NOT_SET:
        break;  // a name without a value says nothing; the verifier refuses such a plan
    }
  }
  return result;
}

void Attrs::ToProto(google::protobuf::RepeatedPtrField<plan::AttrProto>* attrs) const {
  attrs->Clear();
  for (const auto& [name, value] : values()) {
    plan::AttrProto* attr = attrs->Add();
    attr->set_name(name);
    if (const auto* i = std::get_if<int64_t>(&value)) attr->set_i(*i);
    if (const auto* f = std::get_if<double>(&value)) attr->set_f(*f);
    if (const auto* s = std::get_if<std::string>(&value)) attr->set_s(*s);
    if (const auto* b = std::get_if<bool>(&value)) attr->set_b(*b);
    if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) {
      attr->mutable_ints();  // present even if empty
      for (int64_t v : *list) attr->mutable_ints()->add_v(v);
    }
    if (const auto* list = std::get_if<std::vector<double>>(&value)) {
      attr->mutable_floats();
      for (double v : *list) attr->mutable_floats()->add_v(v);
    }
    if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
      attr->mutable_strings();
      for (const std::string& v : *list) attr->mutable_strings()->add_v(v);
    }
  }
}

const Attrs::Values& Attrs::values() const {
  static const Values* none = new Values;
  return values_ == nullptr ? *none : *values_;
}

Attrs::Values& Attrs::Own() {
  if (values_ == nullptr) {
    values_ = std::make_shared<Values>();
  } else if (values_.use_count() > 1) {
    values_ = std::make_shared<Values>(*values_);
  }
  return *values_;
}

int64_t Attrs::Int(const std::string& name) const { return Get<int64_t>(values(), name, "int"); }

double Attrs::Float(const std::string& name) const { return Get<double>(values(), name, "float"); }

const std::string& Attrs::String(const std::string& name) const {
  return Get<std::string>(values(), name, "string");
}

bool Attrs::Bool(const std::string& name) const { return Get<bool>(values(), name, "bool"); }

const std::vector<int64_t>& Attrs::Ints(const std::string& name) const {
  return Get<std::vector<int64_t>>(values(), name, "ints");
}

const std::vector<double>& Attrs::Floats(const std::string& name) const {
  return Get<std::vector<double>>(values(), name, "floats");
}

const std::vector<std::string>& Attrs::Strings(const std::string& name) const {
  return Get<std::vector<std::string>>(values(), name, "strings");
}

std::string Attrs::ToString() const {
  std::string text = "{";
  for (const auto& [name, value] : values()) {
    if (text.size() > 1) text += ", ";
    text += name + "=" + oneflow::ToString(value);
  }
  return text + '}';
}

}  // namespace oneflow
