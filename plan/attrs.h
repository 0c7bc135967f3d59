// Attrs: the named constants of a node or task, in name order.
//
// A value; copies share their constants until one of them is changed, since a graph is copied often
// and an attribute changed rarely. Threads: const access from any; one thread changes copies of one
// another. Invariant: iteration is sorted by name, so everything printed or hashed from it is
// reproducible. Read next: compiler/graph/graph.h.
#ifndef ONEFLOW_PLAN_ATTRS_H_
#define ONEFLOW_PLAN_ATTRS_H_

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "google/protobuf/repeated_field.h"
#include "plan/plan.pb.h"

namespace oneflow {

using AttrValue = std::variant<int64_t, double, std::string, bool, std::vector<int64_t>,
                               std::vector<double>, std::vector<std::string>>;

// "1", "1e-05", "\"sum\"", "true", "[0,2]", "[0.5]"; an empty list is "[]", "floats[]" or
// "strings[]".
std::string ToString(const AttrValue& value);

// Named constants. Getters CHECK that the name exists with that type: schemas are verified when a
// node is added to a graph, so a miss is our bug. What is not verified yet is asked by Find.
class Attrs {
 public:
  using Values = std::map<std::string, AttrValue>;

  Attrs() = default;
  Attrs(std::initializer_list<std::pair<const std::string, AttrValue>> values)
      : values_(std::make_shared<Values>(values)) {}
  static Attrs FromProto(const google::protobuf::RepeatedPtrField<plan::AttrProto>& attrs);
  void ToProto(google::protobuf::RepeatedPtrField<plan::AttrProto>* attrs) const;

  bool Has(const std::string& name) const { return values().contains(name); }
  int64_t Int(const std::string& name) const;
  double Float(const std::string& name) const;
  const std::string& String(const std::string& name) const;
  bool Bool(const std::string& name) const;
  const std::vector<int64_t>& Ints(const std::string& name) const;
  const std::vector<double>& Floats(const std::string& name) const;
  const std::vector<std::string>& Strings(const std::string& name) const;
  // The constant; nullptr if there is none of that name and type.
  template <typename T>
  const T* Find(const std::string& name) const {
    const auto found = values().find(name);
    return found == values().end() ? nullptr : std::get_if<T>(&found->second);
  }
  void Set(const std::string& name, AttrValue value) { Own()[name] = std::move(value); }
  void Remove(const std::string& name) {
    if (Has(name)) Own().erase(name);
  }
  const Values& values() const;

  // "{axis=1, eps=1e-05, mode="sum", dims=[0,2]}": floats print so that they parse back to the same
  // bits.
  std::string ToString() const;
  bool operator==(const Attrs& other) const {
    return values_ == other.values_ || values() == other.values();
  }

 private:
  // To be changed: this one's alone.
  Values& Own();

  std::shared_ptr<Values> values_;  // nullptr: none
};

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_ATTRS_H_
