// Every kernel of the CUDA table against the CPU's kernel of the same op, on small shapes: odd, empty,
// strided, sharded. Always on the software table; on a GPU too where ONEFLOW_CUDA_LIBRARY names the
// library (tools/gpu_check.sh).
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <set>

#include "kernels/cuda/algorithm_choices.h"
#include "kernels/cuda/conformance_case_for_test.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/definition.h"
#include "kernels/cuda/device_bytes_for_test.h"
#include "kernels/cuda/soft_cuda_for_test.h"

namespace oneflow::kernels {
namespace {

constexpr DType kNumbers[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kI16,
                              DType::kI64, DType::kI32,  DType::kI8,  DType::kU8};
constexpr DType kAll[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kI64,
                          DType::kI32, DType::kI8,   DType::kU8,  DType::kBool};

void AddUnary(std::vector<Case>* cases) {
  for (const Shape& shape : {Shape{7}, Shape{4, 9, 5}, Shape{0, 3}, Shape{1024}, Shape{}}) {
    for (const DType dtype : kNumbers) {
      for (const char* op : {"neg", "abs", "relu", "square"}) {
        cases->push_back({op, {}, {Values(dtype, shape, 1)}, {Of(dtype, shape)}});
      }
      for (const char* op : {"add_scalar", "mul_scalar"}) {
        cases->push_back({op, {{"value", 3.0}}, {Values(dtype, shape, 2)}, {Of(dtype, shape)}});
      }
    }
    for (const char* op : {"exp", "tanh", "sigmoid", "erf", "gelu", "gelu_tanh", "silu", "relu6",
                           "hardsigmoid", "hardswish", "sign", "floor", "ceil", "round", "trunc"}) {
      cases->push_back({op, {}, {RandomTensor(shape, 3, -12, 12)}, {Of(DType::kF32, shape)}});
      for (const DType dtype : {DType::kBF16, DType::kF16}) {
        cases->push_back({op, {}, {Values(dtype, shape, 3)}, {Of(dtype, shape)}});
      }
    }
    // Functions of the library: close, not the same bits.
    for (const char* op : {"exp2", "expm1", "sin", "cos", "tan", "atan", "sinh", "cosh", "asinh",
                           "softplus", "logsigmoid", "mish"}) {
      cases->push_back(
          {op, {}, {RandomTensor(shape, 3, -1.4f, 1.4f)}, {Of(DType::kF32, shape)}, 4e-6});
    }
    for (const char* op : {"erfc", "lgamma", "digamma"}) {
      cases->push_back(
          {op, {}, {RandomTensor(shape, 3, 0.2f, 4.0f)}, {Of(DType::kF32, shape)}, 4e-6});
    }
    for (const char* op : {"asin", "acos", "atanh", "erfinv"}) {
      cases->push_back(
          {op, {}, {RandomTensor(shape, 3, -0.9f, 0.9f)}, {Of(DType::kF32, shape)}, 4e-6});
    }
    for (const char* op : {"elu", "leaky_relu"}) {
      cases->push_back(
          {op, {{"value", 0.25}}, {RandomTensor(shape, 3)}, {Of(DType::kF32, shape)}, 4e-6});
    }
    for (const char* op :
         {"log", "log2", "log10", "log1p", "reciprocal", "acosh", "sqrt", "rsqrt"}) {
      cases->push_back(
          {op, {}, {RandomTensor(shape, 4, 1.1f, 50)}, {Of(DType::kF32, shape)}, 4e-6});
    }
    for (const double value : {2.0, 3.0, -1.0, 0.7}) {
      cases->push_back({"pow_scalar",
                        {{"value", value}},
                        {RandomTensor(shape, 5, 0.1f, 4)},
                        {Of(DType::kF32, shape)},
                        1e-6});
    }
  }
}

// Where functions have no value, or one beyond all numbers.
void AddEdges(std::vector<Case>* cases) {
  const std::vector<float> edges = {0,      -0.0f,    1,         -1,  -2.5f, 3e38f,
                                    -3e38f, INFINITY, -INFINITY, NAN, 90,    -110};
  const Shape shape = {static_cast<int64_t>(edges.size())};
  for (const char* op : {"exp", "tanh", "sigmoid", "erf", "gelu", "gelu_tanh", "silu", "log",
                         "sqrt", "rsqrt", "softplus", "relu", "sign"}) {
    cases->push_back(
        {op, {}, {TestTensor::Of<float>(shape, edges)}, {Of(DType::kF32, shape)}, 4e-6});
  }
}

void AddBinary(std::vector<Case>* cases) {
  struct Shapes {
    Shape a, b, out;
  };
  const std::vector<Shapes> all = {
      {{5, 7}, {5, 7}, {5, 7}},       {{6, 8}, {8}, {6, 8}},
      {{6, 1}, {6, 8}, {6, 8}},       {{3}, {}, {3}},
      {{2, 1, 4}, {3, 1}, {2, 3, 4}}, {{0, 4}, {4}, {0, 4}},
      {{33, 12}, {33, 12}, {33, 12}},
  };
  for (const Shapes& shapes : all) {
    for (const DType dtype : kNumbers) {
      for (const char* op : {"add", "sub", "mul", "div", "maximum", "minimum", "fmod", "remainder",
                             "floor_divide"}) {
        cases->push_back({op,
                          {},
                          {Values(dtype, shapes.a, 1), Values(dtype, shapes.b, 2)},
                          {Of(dtype, shapes.out)}});
      }
    }
    for (const char* op : {"pow", "atan2"}) {
      cases->push_back({op,
                        {},
                        {RandomTensor(shapes.a, 3, 0.2f, 3), RandomTensor(shapes.b, 4)},
                        {Of(DType::kF32, shapes.out)},
                        4e-6});
    }
    for (const DType dtype : {DType::kI64, DType::kI32, DType::kI16, DType::kI8, DType::kU8}) {
      for (const char* op : {"bitwise_and", "bitwise_or", "bitwise_xor"}) {
        cases->push_back({op,
                          {},
                          {Values(dtype, shapes.a, 1), Values(dtype, shapes.b, 2)},
                          {Of(dtype, shapes.out)}});
      }
    }
    for (const DType dtype : kAll) {
      for (const char* op :
           {"eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor"}) {
        cases->push_back({op,
                          {},
                          {Values(dtype, shapes.a, 5), Values(dtype, shapes.b, 6)},
                          {Of(DType::kBool, shapes.out)}});
      }
      cases->push_back({"where",
                        {},
                        {Values(DType::kBool, shapes.a, 7), Values(dtype, shapes.b, 8),
                         Values(dtype, shapes.a, 9)},
                        {Of(dtype, shapes.out)}});
    }
  }
}

// Every op of the CPU's table that ends in _grad and takes an element: the saved value in (-0.9, 0.9),
// where all of them are defined, or above 1 for acosh.
void AddGradients(std::vector<Case>* cases) {
  for (const std::string& op : CpuKernels().ops()) {
    if (!op.ends_with("_grad")) continue;
    const float low = op == "acosh_grad" ? 1.1f : op.starts_with("log") ? 0.1f : -0.9f;
    for (const Shape& shape : {Shape{7}, Shape{4, 9, 5}, Shape{0, 3}, Shape{}}) {
      Case test{op,
                {{"value", 0.25}},
                {RandomTensor(shape, 3, low, low < 1 ? 0.9f : 2.0f), RandomTensor(shape, 4)},
                {Of(DType::kF32, shape)},
                4e-6};
      KernelSpec spec{
          op, test.attrs, {test.inputs[0].type, test.inputs[1].type}, {test.outputs[0].type}};
      if (CpuKernels().Check(spec).ok()) cases->push_back(std::move(test));
    }
  }
}

void AddCasts(std::vector<Case>* cases) {
  for (const DType from : kAll) {
    for (const DType to : kAll) {
      cases->push_back({"cast", {}, {Values(from, {37}, 1)}, {Of(to, {37})}});
    }
  }
  cases->push_back({"cast",
                    {},
                    {TestTensor::Of<float>({6}, {NAN, INFINITY, -INFINITY, 3e9f, -3e9f, 300.5f})},
                    {Of(DType::kI32, {6})}});
  cases->push_back({"cast",
                    {},
                    {TestTensor::Of<float>({4}, {NAN, 65519.0f, 65520.0f, 1e-7f})},
                    {Of(DType::kF16, {4})}});
}

void AddReductions(std::vector<Case>* cases) {
  const auto add = [&](const Shape& shape, const Longs& dims) {
    Shape out;
    for (int64_t d = 0; d < static_cast<int64_t>(shape.size()); ++d) {
      if (std::find(dims.begin(), dims.end(), d) == dims.end()) out.push_back(shape[d]);
    }
    for (const char* op : {"sum", "amax"}) {
      cases->push_back({op,
                        {{"dims", dims}, {"keepdim", false}},
                        {RandomTensor(shape, 1)},
                        {Of(DType::kF32, out)},
                        1e-6});
      for (const DType dtype : {DType::kI64, DType::kI32, DType::kI8, DType::kU8}) {
        cases->push_back({op,
                          {{"dims", dims}, {"keepdim", false}},
                          {Values(dtype, shape, 2)},
                          {Of(dtype, out)}});
      }
    }
  };
  add({5, 7}, {0});
  add({5, 7}, {1});
  add({4, 3, 6}, {0, 2});
  add({4, 3, 6}, {1});
  add({9}, {0});
  add({0, 3}, {0});
  add({3, 0}, {0});
  add({700, 3}, {0});   // shares of columns
  add({2, 9001}, {1});  // shares of rows
  cases->push_back({"amax",
                    {{"dims", Longs{1}}, {"keepdim", false}},
                    {TestTensor::Of<float>({3, 3}, {1, NAN, 2, NAN, 0, 1, 3, 1, NAN})},
                    {Of(DType::kF32, {3})}});
  for (const DType in : {DType::kI32, DType::kBool}) {
    cases->push_back({"sum",
                      {{"dims", Longs{0}}, {"keepdim", false}},
                      {Values(in, {11}, 3)},
                      {Of(DType::kI64, {})}});
  }
  for (const DType dtype : kAll) {
    cases->push_back({"argmax",
                      {{"dim", int64_t{1}}, {"keepdim", false}},
                      {Values(dtype, {4, 9, 3}, 4)},
                      {Of(DType::kI64, {4, 3})}});
  }
}

// Rows that begin on 16 bytes and elsewhere, with a head and a tail, with more packs than a block has threads,
// and with columns behind the classes.
void AddCrossEntropy(std::vector<Case>* cases) {
  const TestTensor wide = TestTensor::Of<int64_t>({4}, {0, 8, -1, 9});  // two outside of [0, 9)
  const TestTensor narrow = TestTensor::Of<int32_t>({4}, {3, 7, 9, 2});
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kF64}) {
    const DType sums = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
    // At least the greatest logit, as it is.
    const TestTensor lse = dtype == DType::kF64 ? TestTensor::Of<double>({4}, {9, 9.5, 10, 11})
                                                : TestTensor::Of<float>({4}, {9, 9.5, 10, 11});
    const TestTensor dloss = Values(sums, {4}, 7);
    for (const auto& [stride, classes] : std::vector<std::array<int64_t, 2>>{
             {9, 0}, {16, 9}, {17, 10}, {1021, 0}, {1024, 1021}, {2500, 2499}, {8, 0}}) {
      const Attrs attrs = {{"classes", classes}};
      const Shape shape = {4, stride};
      for (const TestTensor& labels : {wide, narrow}) {
        cases->push_back({"cross_entropy",
                          attrs,
                          {Values(dtype, shape, 5), labels},
                          {Of(sums, {4}), Of(sums, {4})},
                          2e-6});
        cases->push_back({"cross_entropy_grad",
                          attrs,
                          {Values(dtype, shape, 6), labels, lse, dloss},
                          {Of(dtype, shape)},
                          1e-6});
      }
      cases->push_back({"cross_entropy_grad",
                        attrs,
                        {Values(dtype, shape, 6), wide, lse, dloss, Values(sums, {4}, 9)},
                        {Of(dtype, shape)},
                        1e-6});
    }
  }
}

void AddRows(std::vector<Case>* cases) {
  for (const Shape& shape : {Shape{3, 10}, Shape{4, 77}, Shape{2, 5, 6}, Shape{0, 4}}) {
    for (const int64_t dim : {int64_t{-1}, int64_t{1}, int64_t{0}}) {
      if (shape[0] == 0 && dim == 0) continue;  // a row without elements
      const Attrs attrs = {{"dim", dim}};
      for (const char* op : {"softmax", "log_softmax"}) {
        cases->push_back(
            {op, attrs, {RandomTensor(shape, 1, -9, 9)}, {Of(DType::kF32, shape)}, 2e-6});
      }
      cases->push_back({"softmax_grad",
                        attrs,
                        {RandomTensor(shape, 2, 0, 0.2f), RandomTensor(shape, 3)},
                        {Of(DType::kF32, shape)},
                        2e-6});
      cases->push_back({"log_softmax_grad",
                        attrs,
                        {RandomTensor(shape, 2, -9, -1), RandomTensor(shape, 3)},
                        {Of(DType::kF32, shape)},
                        5e-6});
    }
  }
  AddCrossEntropy(cases);
}

// Samples with repeats, without labels, without a way (4 frames for 3 equal labels), short ones, and
// more states than a block of software CUDA has threads.
void AddCtc(std::vector<Case>* cases) {
  const auto longs = [](const Shape& shape, const std::vector<int64_t>& values) {
    return TestTensor::Of<int64_t>(shape, values);
  };
  for (const int64_t blank : {0, 4}) {
    const Attrs attrs = {{"blank", blank}};
    const std::vector<TestTensor> small = {RandomTensor({6, 4, 5}, 1, -3, 0),
                                           longs({4, 3}, {1, 2, 2, 3, 1, 3, 2, 2, 2, 1, 9, 9}),
                                           longs({4}, {6, 5, 4, 0}), longs({4}, {3, 2, 3, 0})};
    cases->push_back(
        {"ctc_loss", attrs, small, {Of(DType::kF32, {4}), Of(DType::kF32, {4, 6, 7})}, 2e-6});
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < 2 * 25; ++i) labels.push_back(1 + i * i % 3);
    const std::vector<TestTensor> large = {RandomTensor({60, 2, 5}, 2, -3, 0),
                                           longs({2, 25}, labels), longs({2}, {60, 51}),
                                           longs({2}, {25, 20})};
    cases->push_back(
        {"ctc_loss", attrs, large, {Of(DType::kF32, {2}), Of(DType::kF32, {2, 60, 51})}, 2e-6});
    std::vector<TestTensor> gradient = small;
    for (const TestTensor& more :
         {RandomTensor({4, 6, 7}, 3, -4, 0), RandomTensor({4}, 4, 1, 3), RandomTensor({4}, 5)}) {
      gradient.push_back(more);
    }
    cases->push_back({"ctc_loss_grad", attrs, gradient, {Of(DType::kF32, {6, 4, 5})}, 1e-5});
    gradient = large;
    for (const TestTensor& more : {RandomTensor({2, 60, 51}, 6, -90, -60),
                                   RandomTensor({2}, 7, 60, 90), RandomTensor({2}, 8)}) {
      gradient.push_back(more);
    }
    cases->push_back({"ctc_loss_grad", attrs, gradient, {Of(DType::kF32, {60, 2, 5})}, 1e-5});
  }
  cases->push_back({"ctc_loss",
                    {{"blank", int64_t{0}}},
                    {RandomTensor({3, 2, 4}, 9, -3, 0), longs({2, 2}, {1, 2, 3, 7}),
                     longs({2}, {3, 3}), longs({2}, {2, 2})},  // label 7 of 4 classes
                    {Of(DType::kF32, {2}), Of(DType::kF32, {2, 3, 5})},
                    2e-6});
}

void AddUpdates(std::vector<Case>* cases) {
  const TestTensor step = TestTensor::Of<int64_t>({}, {3});
  for (const char* op : {"dropout", "dropout_grad"}) {
    for (const double p : {0.0, 0.3, 1.0}) {
      const Attrs attrs = {{"p", p}, {"seed", int64_t{5}}, {"key", std::string("layer.1")}};
      cases->push_back({op, attrs, {RandomTensor({9, 7}, 1), step}, {Of(DType::kF32, {9, 7})}});
      TestTensor shard = RandomTensor({2, 6}, 2);  // of [8,13], in micro-batches of two rows
      shard.type.logical_shape = {8, 13};
      shard.type.begin = {4, 3};
      shard.type.micro_stride = 2;
      cases->push_back({op, attrs, {shard, step}, {Of(DType::kF32, {2, 6})}, 0, 2});
      TestTensor column = RandomTensor({5, 1}, 3);
      column.type.logical_shape = {5, 4};
      column.type.begin = {0, 2};
      cases->push_back({op, attrs, {column, step}, {Of(DType::kF32, {5, 1})}});
    }
  }
  // Sines and cosines are the library's: close, not the same bits.
  for (const auto& [op, tolerance] : {std::pair("uniform", 0.0), std::pair("normal", 4e-6)}) {
    const Attrs attrs = {{"seed", int64_t{5}}, {"key", std::string("noise.0")}};
    cases->push_back(
        {op, attrs, {RandomTensor({9, 7}, 1), step}, {Of(DType::kF32, {9, 7})}, tolerance});
    TestTensor shard = RandomTensor({2, 6}, 2);  // of [8,13], in micro-batches of two rows
    shard.type.logical_shape = {8, 13};
    shard.type.begin = {4, 3};
    shard.type.micro_stride = 2;
    cases->push_back({op, attrs, {shard, step}, {Of(DType::kF32, {2, 6})}, tolerance, 2});
  }
  const TestTensor lr = TestTensor::Of<float>({}, {0.05f});
  for (const int64_t now : {int64_t{0}, int64_t{7}}) {
    const TestTensor at = TestTensor::Of<int64_t>({}, {now});
    // The longest: several blocks, of which every thread has work twice.
    for (const auto& [shape, dtype] :
         {std::pair(Shape{5, 9}, DType::kF32), std::pair(Shape{5, 9}, DType::kBF16),
          std::pair(Shape{0}, DType::kF32), std::pair(Shape{0}, DType::kF16),
          std::pair(Shape{2101}, DType::kF32), std::pair(Shape{2101}, DType::kBF16),
          std::pair(Shape{2101}, DType::kF16)}) {
      const TestTensor p = RandomTensor(shape, 1), g = Values(dtype, shape, 2);
      cases->push_back(
          {"sgd_update", {{"weight_decay", 0.1}}, {p, g, lr, at}, {Of(DType::kF32, shape)}});
      for (const bool nesterov : {false, true}) {
        cases->push_back({"sgd_update",
                          {{"momentum", 0.9},
                           {"weight_decay", 0.01},
                           {"dampening", nesterov ? 0.0 : 0.2},
                           {"nesterov", nesterov}},
                          {p, g, lr, at, RandomTensor(shape, 3)},
                          {Of(DType::kF32, shape), Of(DType::kF32, shape)}});
      }
      cases->push_back({"adamw_update",
                        {{"beta1", 0.9}, {"beta2", 0.99}, {"eps", 1e-8}, {"weight_decay", 0.05}},
                        {p, g, RandomTensor(shape, 4), RandomTensor(shape, 5, 0, 1), lr, at},
                        {Of(DType::kF32, shape), Of(DType::kF32, shape), Of(DType::kF32, shape)},
                        1e-6});
    }
  }
}

void AddMatmuls(std::vector<Case>* cases) {
  const auto add = [&](const Shape& a, const Shape& b, const Shape& out, bool ta, bool tb,
                       double tolerance = 2e-6) {
    cases->push_back({"matmul",
                      {{"transpose_a", ta}, {"transpose_b", tb}},
                      {RandomTensor(a, 1), RandomTensor(b, 2)},
                      {Of(DType::kF32, out)},
                      tolerance});
  };
  add({5, 7}, {7, 3}, {5, 3}, false, false);
  add({5, 7}, {3, 7}, {5, 3}, false, true);
  add({7, 5}, {7, 3}, {5, 3}, true, false);
  add({7, 5}, {3, 7}, {5, 3}, true, true);
  add({64, 32}, {32, 48}, {64, 48}, false, false);
  // Narrow types: rows that pass through copies.
  add({131, 137}, {137, 133}, {131, 133}, false, false, 1e-5);
  add({131, 136}, {133, 136}, {131, 133}, false, true, 1e-5);
  add({137, 131}, {137, 136}, {131, 136}, true, false, 1e-5);
  add({136, 131}, {133, 136}, {131, 133}, true, true, 1e-5);
  add({2, 3, 4, 5}, {5, 6}, {2, 3, 4, 6}, false, false);
  add({2, 3, 4, 5}, {2, 3, 5, 6}, {2, 3, 4, 6}, false, false);
  add({2, 3, 4, 5}, {2, 1, 6, 5}, {2, 3, 4, 6}, false, true);
  add({3, 4, 5}, {2, 3, 5, 6}, {2, 3, 4, 6}, false, false);
  add({0, 4}, {4, 3}, {0, 3}, false, false);
  add({2, 0}, {0, 3}, {2, 3}, false, false);
}

void AddShapeOps(std::vector<Case>* cases) {
  for (const DType dtype : kAll) {
    cases->push_back({"permute",  // large enough for tiles
                      {{"dims", Longs{1, 0}}},
                      {Values(dtype, {20, 45}, 1)},
                      {Of(dtype, {45, 20})}});
    cases->push_back({"permute",
                      {{"dims", Longs{0, 2, 1}}},
                      {Values(dtype, {3, 40, 17}, 1)},
                      {Of(dtype, {3, 17, 40})}});
    cases->push_back({"permute",
                      {{"dims", Longs{2, 0, 1}}},
                      {Values(dtype, {3, 4, 5}, 1)},
                      {Of(dtype, {5, 3, 4})}});
    cases->push_back({"broadcast_to",
                      {{"shape", Longs{2, 3, 4}}},
                      {Values(dtype, {3, 1}, 2)},
                      {Of(dtype, {2, 3, 4})}});
    cases->push_back(
        {"cat",
         {{"dim", int64_t{1}}},
         {Values(dtype, {2, 3}, 3), Values(dtype, {2, 0}, 4), Values(dtype, {2, 4}, 5)},
         {Of(dtype, {2, 7})}});
    cases->push_back(
        {"slice",
         {{"dim", int64_t{1}}, {"start", int64_t{1}}, {"stop", int64_t{8}}, {"step", int64_t{3}}},
         {Values(dtype, {2, 9}, 6)},
         {Of(dtype, {2, 3})}});
    cases->push_back({"slice_grad",
                      {{"dim", int64_t{0}},
                       {"start", int64_t{2}},
                       {"stop", int64_t{5}},
                       {"step", int64_t{1}},
                       {"extent", int64_t{6}}},
                      {Values(dtype, {3, 4}, 7)},
                      {Of(dtype, {6, 4})}});
    cases->push_back({"constant", {{"value", 3.0}, {"shape", Longs{5}}}, {}, {Of(dtype, {5})}});
  }
}

void AddMovement(std::vector<Case>* cases) {
  for (const DType dtype : kAll) {
    cases->push_back({"pack",
                      {{"begin", Longs{1, 2, 3}}, {"extent", Longs{2, 3, 3}}},
                      {Values(dtype, {4, 5, 6}, 1)},
                      {Of(dtype, {2, 3, 3})}});
    for (const char* mode : {"sum", "max", "min", "copy"}) {
      cases->push_back(
          {"assemble",
           {{"mode", std::string("copy")},
            {"rank", int64_t{2}},
            {"zero", true},
            {"piece_input", Longs{0, 1, 2}},
            {"piece_mode", Strings{"copy", "copy", mode}},
            {"src_begin", Longs{0, 0, 1, 0, 0, 1}},
            {"dst_begin", Longs{0, 0, 2, 0, 1, 0}},
            {"extent", Longs{2, 2, 1, 2, 2, 1}}},
           {Values(dtype, {2, 2}, 2), Values(dtype, {2, 2}, 3), Values(dtype, {2, 2}, 4)},
           {Of(dtype, {4, 2})}});
      if (std::string(mode) == "copy") continue;
      cases->push_back({"accumulate",
                        {{"mode", std::string(mode)}},
                        {Values(dtype, {4, 4}, 7)},
                        {Of(dtype, {4, 4})},
                        0,
                        3});
    }
    for (const int64_t pieces : {1, 2}) {
      Attrs ring = {{"dim", int64_t{1}}, {"units", int64_t{7}}, {"parts", int64_t{3}}};
      ring.Set("base", int64_t{2});
      ring.Set("pieces", pieces);
      const TestTensor whole = Values(dtype, {3, 14, 2}, 8), share = Values(dtype, {3, 6, 2}, 6);
      cases->push_back({"ring_send", ring, {whole}, {Of(dtype, {3, 6, 2})}, 0, 3});
      ring.Set("reduce_chunks", 2 * pieces);
      for (const char* mode : {"sum", "max", "min"}) {
        ring.Set("mode", std::string(mode));
        cases->push_back({"ring_reduce", ring, {whole, share}, {Of(dtype, {3, 14, 2})}, 0, 4});
      }
    }
    cases->push_back({"micro_slice",
                      {{"dim", int64_t{1}}},
                      {Values(dtype, {6, 9}, 9)},
                      {Of(dtype, {6, 3})},
                      0,
                      3});
    cases->push_back({"micro_concat",
                      {{"dim", int64_t{0}}},
                      {Values(dtype, {2, 9}, 10)},
                      {Of(dtype, {6, 9})},
                      0,
                      3});
    cases->push_back({"micro_mask", {}, {Values(dtype, {5}, 11)}, {Of(dtype, {5})}, 0, 2});
  }
}

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  AddUnary(&cases);
  AddEdges(&cases);
  AddBinary(&cases);
  AddGradients(&cases);
  AddCasts(&cases);
  AddReductions(&cases);
  AddRows(&cases);
  AddCtc(&cases);
  AddUpdates(&cases);
  AddFusedCases(&cases);
  AddJoinedUpdates(&cases);
  AddMatmuls(&cases);
  AddLinear(&cases);
  AddMatmulGelu(&cases);
  AddMatmulSums(&cases);
  AddShapeOps(&cases);
  AddMovement(&cases);
  AddLayerCases(&cases);
  return cases;
}

int64_t BytesOf(const TestTensor& tensor) {
  return NumElements(tensor.type.shape) * SizeOf(tensor.type.dtype);
}

// Of sums in another order: a rounding of the stored type. f64 is what the library gives on each side, but for
// `normal`, which draws in f32 whatever it is stored as.
double ToleranceFor(const Case& test, DType dtype) {
  if (dtype == DType::kF64) return test.op == "normal" ? test.tolerance : 1e-12;
  if (test.tolerance == 0 || dtype == DType::kF32) return test.tolerance;
  return std::max(test.tolerance, dtype == DType::kBF16 ? 1.0 / 64 : 1.0 / 512);
}

void Compare(const Case& test, const TestTensor& expected, const std::vector<unsigned char>& bytes,
             const std::string& what) {
  const DType dtype = expected.type.dtype;
  if (bytes.empty() || std::memcmp(bytes.data(), expected.bytes->data(), bytes.size()) == 0) return;
  if (!IsFloating(dtype)) {
    ADD_FAILURE() << what << " differs";
    return;
  }
  DispatchDType(dtype, [&]<typename T>() {
    const size_t n = bytes.size() / sizeof(T);
    const T* actual = reinterpret_cast<const T*>(bytes.data());
    const T* wanted = static_cast<const T*>(expected.bytes->data());
    const double tolerance = ToleranceFor(test, dtype);
    for (size_t i = 0; i < n; ++i) {
      const double a = static_cast<double>(static_cast<Compute<T>>(actual[i]));
      const double b = static_cast<double>(static_cast<Compute<T>>(wanted[i]));
      if ((std::isnan(a) && std::isnan(b)) || a == b) continue;
      ASSERT_LE(std::abs(a - b), tolerance * (std::abs(b) + 1))
          << what << " element " << i << ": " << a << " != " << b;
    }
  });
}

void RunCase(const CudaApi* api, const KernelTable& table, CudaStream* stream, const Case& test) {
  KernelCase cpu(test.op, test.attrs, test.inputs, test.outputs);
  const std::string what = cpu.spec().Key();
  absl::StatusOr<Needs> needs = table.Describe(cpu.spec());
  ASSERT_TRUE(needs.ok()) << what << ": " << MessageOf(needs.status());
  absl::StatusOr<std::unique_ptr<Kernel>> kernel = table.Make(cpu.spec());
  ASSERT_TRUE(kernel.ok()) << what << ": " << MessageOf(kernel.status());

  std::vector<std::unique_ptr<DeviceBytes>> buffers;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  for (const TestTensor& input : test.inputs) {
    buffers.push_back(std::make_unique<DeviceBytes>(api, BytesOf(input)));
    buffers.back()->Write(input.bytes->data());
    inputs.push_back(buffers.back()->data());
  }
  // Poisoned alike on both sides: an element that is not written is found.
  for (const TestTensor& output : test.outputs) {
    std::memset(output.bytes->data(), 0xB7, static_cast<size_t>(BytesOf(output)));
    buffers.push_back(std::make_unique<DeviceBytes>(api, BytesOf(output)));
    const std::vector<unsigned char> poison(static_cast<size_t>(BytesOf(output)), 0xB7);
    buffers.back()->Write(poison.data());
    outputs.push_back(buffers.back()->data());
  }
  DeviceBytes workspace(api, needs->workspace_bytes);
  void* pinned = nullptr;
  ASSERT_EQ(api->allocate_pinned(&pinned, sizeof(StepBlock)), 0);
  StepBlock* block = static_cast<StepBlock*>(pinned);
  for (uint32_t firing = 0; firing < test.firings; ++firing) {
    cpu.Run(firing, firing);
    KernelArgs args;
    args.inputs = inputs.data();
    args.outputs = outputs.data();
    args.workspace = workspace.data();
    block->Begin(0);
    args.block = block;
    args.micro = firing;
    args.chunk = firing;
    const absl::Status enqueued = (*kernel)->Run(args, stream);
    ASSERT_TRUE(enqueued.ok()) << what << ": " << MessageOf(enqueued);
    stream->Drain();
    // Which of several wrong indices is told depends on the order of threads.
    EXPECT_EQ(block->error_code, cpu.block.error_code) << what;
    EXPECT_EQ(block->error_bound, cpu.block.error_bound) << what;
    for (size_t i = 0; i < test.outputs.size(); ++i) {
      Compare(test, test.outputs[i], buffers[test.inputs.size() + i]->Read(),
              what + " output " + std::to_string(i) + " firing " + std::to_string(firing));
    }
  }
  api->release_pinned(pinned);
  workspace.CheckGuard();
  for (size_t i = 0; i < test.inputs.size(); ++i) {
    const std::vector<unsigned char> after = buffers[i]->Read();
    EXPECT_TRUE(after.empty() ||
                std::memcmp(after.data(), test.inputs[i].bytes->data(), after.size()) == 0)
        << what << " changed its input " << i;
  }
}

void RunAll(const CudaApi* api, const std::vector<Case>& cases) {
  const KernelTable table = CudaKernels(api);
  const absl::StatusOr<std::unique_ptr<CudaStream>> stream = CudaStream::Make(api);
  ASSERT_TRUE(stream.ok()) << MessageOf(stream.status());
  for (const Case& test : cases) {
    RunCase(api, table, stream->get(), test);
    if (testing::Test::HasFatalFailure()) return;
  }
}

// The kernels compiled for the host, and those of the GPU where ONEFLOW_CUDA_LIBRARY names a library
// (tools/gpu_check.sh).
void RunOnEachTable(const std::vector<Case>& cases) {
  RunAll(SoftCudaApi(), cases);
  const char* path = std::getenv("ONEFLOW_CUDA_LIBRARY");
  if (path == nullptr) return;
  const char* cublaslt = std::getenv("ONEFLOW_CUBLASLT");
  absl::StatusOr<const CudaApi*> api = OpenCuda(path, cublaslt == nullptr ? "" : cublaslt);
  ASSERT_TRUE(api.ok()) << MessageOf(api.status());
  ASSERT_EQ((*api)->set_device(0), 0);
  std::cout << "and on the GPU\n";
  RunAll(*api, cases);
  std::vector<Case> compiled = cases;  // once more, by engines that a library compiles first
  std::erase_if(compiled, [](const Case& test) { return test.op != "conv2d_sums"; });
  AlgorithmChoices::OfProcess().Measure("");
  RunAll(*api, compiled);
  AlgorithmChoices::OfProcess().StopMeasuring();
  bool found = false;
  const char* library = (*api)->convolution_library("", &found);
  CudaConvolutionPlans plans = {};
  (*api)->convolution_plans(&plans);
  std::cout << library << ": " << plans.library << " convolutions by it, " << plans.own
            << " by own kernels\n";
  // A library that is there and serves nothing is a mistake of ours.
  EXPECT_EQ(found, plans.library > 0);
  EXPECT_EQ(plans.live, 0) << "plans of convolutions that were not released";
}

TEST(CudaConformance, EachTableAtHand) { RunOnEachTable(AllCases()); }

TEST(CudaConformance, EveryKernelOfTheTableHasACase) {
  std::set<std::string> covered;
  for (const Case& test : AllCases()) covered.insert(test.op);
  for (const std::string& op : CudaDescriptions().ops()) {
    EXPECT_TRUE(covered.contains(op)) << op << " has no case";
    EXPECT_NE(CpuKernels().Find(op), nullptr) << op << " has no CPU kernel to agree with";
  }
}

// The case with its f32 operands in `dtype`, as many of them as the op allows; no op if it allows none.
Case InDType(const Case& test, DType dtype) {
  const size_t inputs = test.inputs.size();
  std::vector<size_t> floats;
  for (size_t i = 0; i < inputs + test.outputs.size(); ++i) {
    const TestTensor& tensor = i < inputs ? test.inputs[i] : test.outputs[i - inputs];
    if (tensor.type.dtype == DType::kF32) floats.push_back(i);
  }
  for (uint32_t some = (1u << floats.size()) - 1; some > 0; --some) {
    Case changed = test;
    for (size_t f = 0; f < floats.size(); ++f) {
      if ((some >> f & 1) == 0) continue;
      TestTensor& tensor =
          floats[f] < inputs ? changed.inputs[floats[f]] : changed.outputs[floats[f] - inputs];
      const Operand type = tensor.type;
      const std::vector<float> values = tensor.Values<float>();
      tensor = TestTensor::Empty(dtype, type.shape);
      tensor.type.logical_shape = type.logical_shape;
      tensor.type.begin = type.begin;
      tensor.type.micro_dim = type.micro_dim;
      tensor.type.micro_stride = type.micro_stride;
      DispatchDType(dtype, [&]<typename T>() {
        T* at = static_cast<T*>(tensor.bytes->data());
        for (size_t i = 0; i < values.size(); ++i) at[i] = Convert<T>(values[i]);
      });
    }
    KernelCase cpu(changed.op, changed.attrs, changed.inputs, changed.outputs);
    if (CpuKernels().Check(cpu.spec()).ok() && cpu.Make()) return changed;
  }
  return {};
}

// Every layer, and what is summed, in the other float types; elementwise ops have bf16 and f16 among their
// cases.
TEST(CudaConformance, EveryFloatType) {
  std::vector<Case> cases, elementwise, changed;
  AddLayerCases(&cases);
  AddReductions(&cases);
  AddRows(&cases);
  AddCtc(&cases);
  AddUpdates(&cases);
  AddFusedCases(&cases);
  AddMatmuls(&cases);
  AddLinear(&cases);
  AddMatmulGelu(&cases);
  AddMatmulSums(&cases);
  AddUnary(&elementwise);
  AddBinary(&elementwise);
  AddGradients(&elementwise);
  AddCasts(&elementwise);
  const auto add = [&](const Case& test, DType dtype) {
    if (test.inputs[0].type.dtype != DType::kF32) return;
    Case other = InDType(test, dtype);
    if (!other.op.empty()) changed.push_back(std::move(other));
  };
  for (const Case& test : cases) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF64}) add(test, dtype);
  }
  for (const Case& test : elementwise) add(test, DType::kF64);
  EXPECT_GT(changed.size(), cases.size());
  RunOnEachTable(changed);
}

// In the types that tensor cores multiply alone: f32 would take others.
TEST(CudaConformance, AttentionOnTensorCores) {
  std::vector<Case> cases, changed;
  AddTensorAttentionCases(&cases);
  for (const Case& test : cases) {
    for (const DType dtype : {DType::kBF16, DType::kF16}) changed.push_back(InDType(test, dtype));
  }
  RunOnEachTable(changed);
}

// What a GPU cannot do and a CPU can: kept by hand, exact. A kernel that comes leaves this list.
TEST(CudaTable, LacksTheseOpsOfTheCpus) {
  const Strings lacks = {};
  Strings found;
  for (const std::string& op : CpuKernels().ops()) {
    if (CudaDescriptions().Find(op) == nullptr) found.push_back(op);
  }
  EXPECT_EQ(found, lacks);
}
TEST(CudaTable, LacksTheseTypesOfTheCpus) {
  const std::set<std::string> lacks = {};
  const KernelTable table = CudaKernels(SoftCudaApi());
  std::set<std::string> found;
  std::set<std::string> seen;
  for (const Case& test : AllCases()) {
    if (test.inputs.empty() || test.inputs[0].type.dtype != DType::kF32) continue;
    if (!seen.insert(test.op).second) continue;  // one call of each op
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF64}) {
      const Case changed = InDType(test, dtype);
      if (changed.op.empty()) continue;
      KernelCase cpu(changed.op, changed.attrs, changed.inputs, changed.outputs);
      if (!table.Make(cpu.spec()).ok()) found.insert(test.op + " " + std::string(NameOf(dtype)));
    }
  }
  EXPECT_EQ(found, lacks);
}

TEST(CudaKernels, WithoutALibraryDescribesAndRefusesToMake) {
  KernelCase test("relu", {}, {RandomTensor({4}, 1)}, {Of(DType::kF32, {4})});
  EXPECT_TRUE(CudaDescriptions().Describe(test.spec()).ok());
  const auto made = CudaDescriptions().Make(test.spec());
  ASSERT_FALSE(made.ok());
  EXPECT_NE(MessageOf(made.status()).find("library for CUDA"), std::string::npos);
}

TEST(CudaKernels, AMissingOneSaysForWhichTypes) {
  KernelCase test("sum", {{"dims", Longs{0}}}, {Values(DType::kBool, {4}, 1)},
                  {Of(DType::kBool, {})});
  const auto made = CudaKernels(SoftCudaApi()).Make(test.spec());
  ASSERT_FALSE(made.ok());
  EXPECT_NE(MessageOf(made.status()).find("the cuda kernel of sum does not take bool"),
            std::string::npos)
      << MessageOf(made.status());
}

TEST(CudaKernels, ALibraryThatIsNoneSaysWhatToDo) {
  const auto opened = OpenCuda("/nonexistent/liboneflow_cuda.so", "");
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(MessageOf(opened.status()).find("./dev cuda builds it"), std::string::npos)
      << MessageOf(opened.status());
}

}  // namespace
}  // namespace oneflow::kernels
