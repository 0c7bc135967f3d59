// Any text as a sharding rule on small shapes: binding is total, all-B stands first, and whatever
// Apply makes of a legal choice is legal.
//
// Input: byte 0 inputs, byte 1 outputs (up to 3 each); per tensor a byte of rank (up to 4) and its
// extents; then 3 bytes of axis sizes, 3 of choices, then the rule.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"
#include "plan/sharding_rule.h"

namespace {

// Takes bytes off the front; 0 when there are none left.
struct Reader {
  const uint8_t* data;
  size_t size;
  int64_t Next(int64_t below) {
    if (size == 0) return 0;
    --size;
    return *data++ % below;
  }
  std::vector<oneflow::Shape> Shapes(int64_t count) {
    std::vector<oneflow::Shape> shapes(static_cast<size_t>(count));
    for (oneflow::Shape& shape : shapes) {
      shape.resize(static_cast<size_t>(Next(5)));
      for (int64_t& extent : shape) extent = Next(13);
    }
    return shapes;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Reader reader{data, size};
  const int64_t inputs = reader.Next(4);
  const int64_t outputs = reader.Next(4);
  const std::vector<oneflow::Shape> input_shapes = reader.Shapes(inputs);
  const std::vector<oneflow::Shape> output_shapes = reader.Shapes(outputs);
  std::vector<oneflow::Axis> axes;
  for (const char* name : {"micro", "dp", "tp"}) axes.push_back({name, 1 + reader.Next(4)});
  std::vector<int64_t> raw_choice;
  for (size_t i = 0; i < axes.size(); ++i) raw_choice.push_back(reader.Next(256));
  const std::string text(reinterpret_cast<const char*>(reader.data), reader.size);
  const auto rule = oneflow::BoundRule::Bind(text, input_shapes, output_shapes);
  if (!rule.ok()) return 0;
  OF_CHECK(rule->signatures()[0].factor.empty()) << text;
  const int64_t numbers =
      static_cast<int64_t>(rule->signatures().size() + rule->nested_signatures().size());
  std::vector<int> choice;
  for (int64_t raw : raw_choice) choice.push_back(static_cast<int>(raw % numbers));
  if (!rule->IsLegalChoice(choice, axes)) return 0;
  const oneflow::NodeShardings shardings = rule->Apply(choice, axes, {}, 0);
  std::string why;
  OF_CHECK(rule->IsLegal(shardings, axes, &why)) << text << ": " << why;
  for (size_t t = 0; t < input_shapes.size(); ++t) {
    (void)oneflow::SliceOf(shardings.inputs[t], axes, input_shapes[t], {0, 0, 0});
  }
  return 0;
}
