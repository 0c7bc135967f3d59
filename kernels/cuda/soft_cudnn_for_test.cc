#include "kernels/cuda/soft_cudnn_for_test.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#include "kernels/cuda/cudnn_descriptor.h"
#include "kernels/scalar/types.h"

namespace oneflow::kernels::cudnn {
namespace {

constexpr Status kBad = 2000;
using Index = std::array<int64_t, 4>;

struct Held {
  int kind = -1;
  std::map<int, std::vector<char>> values;
  std::map<int, std::vector<std::shared_ptr<Held>>>
      others;  // descriptors are kept by who is made of them

  template <typename T>
  T One(int attribute, T otherwise) const {
    const auto found = values.find(attribute);
    if (found == values.end()) return otherwise;
    T value;
    std::memcpy(&value, found->second.data(), sizeof(value));
    return value;
  }
  Index Four(int attribute) const {
    Index four;
    std::memcpy(four.data(), values.at(attribute).data(), sizeof(four));
    return four;
  }
  const Held& Other(int attribute) const { return *others.at(attribute).at(0); }
  bool Has(int attribute) const { return others.count(attribute) > 0; }
};
using Alive = std::map<const void*, std::shared_ptr<Held>>;
Alive& AllAlive() {
  static Alive* alive = new Alive;
  return *alive;
}

int64_t SizeOfType(int type) {
  switch (type) {
    case kTypeInt64:
    case kTypePointer:
    case kTypeDescriptor:
      return 8;
    case kTypeBoolean:
    case kTypeChar:
      return 1;
    default:
      return 4;
  }
}

Status Create(int kind, Descriptor* out) {
  auto made = std::make_shared<Held>();
  made->kind = kind;
  *out = made.get();
  AllAlive()[*out] = std::move(made);
  return 0;
}
Status Destroy(Descriptor one) { return AllAlive().erase(one) == 1 ? 0 : kBad; }
Status Finalize(Descriptor) { return 0; }
Status Set(Descriptor one, int attribute, int type, int64_t count, const void* from) {
  Held& held = *AllAlive().at(one);
  if (type == kTypeDescriptor) {
    auto& list = held.others[attribute];
    list.clear();
    for (int64_t i = 0; i < count; ++i) {
      list.push_back(AllAlive().at(static_cast<const Descriptor*>(from)[i]));
    }
    return 0;
  }
  const char* bytes = static_cast<const char*>(from);
  held.values[attribute].assign(bytes, bytes + count * SizeOfType(type));
  return 0;
}
// What is asked of heuristics, their one configuration and its engine, whose plan needs nothing.
Status Get(const void* one, int attribute, int, int64_t, int64_t* count, void* to) {
  const Held& held = *AllAlive().at(one);
  *count = 1;
  switch (attribute) {
    case kHeuristicsResults:
      AllAlive().at(*static_cast<Descriptor*>(to))->others = {
          {kHeuristicsGraph, held.others.at(kHeuristicsGraph)}};
      return 0;
    case kEngineBehaviorNotes:
      *static_cast<int*>(to) = kRuntimeCompilation;
      return 0;
    case kPlanWorkspaceSize:
    case kEngineConfigWorkspaceSize:
    case kEngineGlobalIndex:
      *static_cast<int64_t*>(to) = 0;
      return 0;
    case kEngineConfigEngine:
      return 0;
    default:
      *count = 0;
      return 0;
  }
}

// ---- Numbers ----

int64_t Count(const Index& dims) { return dims[0] * dims[1] * dims[2] * dims[3]; }
template <typename Visit>
void ForEach(const Index& dims, const Visit& visit) {
  Index at;
  for (at[0] = 0; at[0] < dims[0]; ++at[0]) {
    for (at[1] = 0; at[1] < dims[1]; ++at[1]) {
      for (at[2] = 0; at[2] < dims[2]; ++at[2]) {
        for (at[3] = 0; at[3] < dims[3]; ++at[3]) visit(at);
      }
    }
  }
}
int64_t Offset(const Index& at, const Index& strides) {
  return at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2] + at[3] * strides[3];
}
// Where an operand of these dims is read for a place of a larger one: a dim of 1 for all of them, a dim that divides the
// other by neighbours.
Index Shared(Index at, const Index& dims, const Index& whole) {
  for (size_t d = 0; d < 4; ++d) {
    if (whole[d] % dims[d] != 0) throw std::runtime_error("dims that do not divide each other");
    at[d] /= whole[d] / dims[d];
  }
  return at;
}

class Graph {
 public:
  explicit Graph(const std::map<int64_t, void*>& places) : places_(places) {}

  void Run(const Held& operation) {
    switch (operation.kind) {
      case kMatmulOperation:
        return Matmul(operation);
      case kPointwiseOperation:
        return Pointwise(operation);
      case kReductionOperation:
        return Reduce(operation);
      case kReshapeOperation:
        return Reshape(operation);
      default:
        throw std::runtime_error("an operation that is not known here");
    }
  }

 private:
  struct Tensor {
    explicit Tensor(const Held& held)
        : id(held.One<int64_t>(kTensorId, -1)),
          type(held.One<int>(kTensorDataType, -1)),
          dims(held.Four(kTensorDimensions)),
          strides(held.Four(kTensorStrides)),
          is_virtual(held.One(kTensorIsVirtual, false)) {}
    int64_t id;
    int type;
    Index dims, strides;
    bool is_virtual;
  };

  static double Rounded(const Tensor& tensor, double value) {
    if (tensor.type == kBfloat16) return static_cast<float>(BF16(static_cast<float>(value)));
    if (tensor.type == kHalf) return static_cast<float>(F16(static_cast<float>(value)));
    return value;
  }
  double Read(const Tensor& tensor, const Index& at) const {
    const int64_t offset = Offset(at, tensor.strides);
    if (tensor.is_virtual) return passing_.at(tensor.id).at(offset);
    const void* from = places_.at(tensor.id);
    if (tensor.type == kBfloat16) return static_cast<float>(static_cast<const BF16*>(from)[offset]);
    if (tensor.type == kHalf) return static_cast<float>(static_cast<const F16*>(from)[offset]);
    return static_cast<const float*>(from)[offset];
  }
  void Write(const Tensor& tensor, const Index& at, double value) {
    const int64_t offset = Offset(at, tensor.strides);
    if (tensor.is_virtual) {
      passing_[tensor.id][offset] = Rounded(tensor, value);
      return;
    }
    void* to = places_.at(tensor.id);
    const float narrow = static_cast<float>(value);
    if (tensor.type == kBfloat16) {
      static_cast<BF16*>(to)[offset] = BF16(narrow);
    } else if (tensor.type == kHalf) {
      static_cast<F16*>(to)[offset] = F16(narrow);
    } else {
      static_cast<float*>(to)[offset] = narrow;
    }
  }

  void Matmul(const Held& operation) {
    const Tensor a(operation.Other(kMatmulA)), b(operation.Other(kMatmulB)),
        c(operation.Other(kMatmulC));
    if (a.dims[3] != b.dims[2] || a.dims[2] != c.dims[2] || b.dims[3] != c.dims[3]) {
      throw std::runtime_error("a product of matrices that do not meet");
    }
    ForEach(c.dims, [&](const Index& at) {
      const Index left = {a.dims[0], a.dims[1], 1, 1}, right = {b.dims[0], b.dims[1], 1, 1};
      const Index whole = {c.dims[0], c.dims[1], 1, 1};
      const Index of_a = Shared({at[0], at[1], 0, 0}, left, whole),
                  of_b = Shared({at[0], at[1], 0, 0}, right, whole);
      double sum = 0;
      for (int64_t i = 0; i < a.dims[3]; ++i) {
        sum += Read(a, {of_a[0], of_a[1], at[2], i}) * Read(b, {of_b[0], of_b[1], i, at[3]});
      }
      Write(c, at, sum);
    });
  }

  void Pointwise(const Held& operation) {
    const Held& what = operation.Other(kPointwiseDescriptor);
    const int mode = what.One<int>(kPointwiseMode, -1);
    const auto axis = static_cast<size_t>(what.One<int64_t>(kPointwiseAxis, 0));
    const Tensor x(operation.Other(kPointwiseX)), y(operation.Other(kPointwiseY));
    const auto other = [&](int attribute, const Index& at) {
      const Tensor tensor(operation.Other(attribute));
      return Read(tensor, Shared(at, tensor.dims, y.dims));
    };
    ForEach(y.dims, [&](const Index& at) {
      const double value = Read(x, Shared(at, x.dims, y.dims));
      const double b = operation.Has(kPointwiseB) ? other(kPointwiseB, at)
                                                  : std::numeric_limits<double>::quiet_NaN();
      switch (mode) {
        case kAdd:
          return Write(y, at, value + b);
        case kMul:
          return Write(y, at, value * b);
        case kDiv:
          return Write(y, at, value / b);
        case kSub:
          return Write(y, at, value - b);
        case kExp:
          return Write(y, at, std::exp(value));
        case kLog:
          return Write(y, at, std::log(value));
        case kIdentity:
          return Write(y, at, value);
        case kNotLess:
          return Write(y, at, value >= b ? 1 : 0);
        case kIndex:
          return Write(y, at, static_cast<double>(at[axis]));
        case kSelect:
          return Write(y, at, other(kPointwiseCondition, at) != 0 ? value : b);
        default:
          throw std::runtime_error("a mode that is not known here");
      }
    });
  }

  void Reduce(const Held& operation) {
    const int how = operation.Other(kReductionDescriptor).One<int>(kReductionOperator, -1);
    const Tensor x(operation.Other(kReductionX)), y(operation.Other(kReductionY));
    std::map<Index, double> results;
    ForEach(x.dims, [&](const Index& at) {
      const double value = Read(x, at);
      const auto [found, first] = results.try_emplace(Shared(at, y.dims, x.dims), value);
      if (first) return;
      found->second = how == kLargest ? std::max(found->second, value) : found->second + value;
    });
    for (const auto& [at, value] : results) Write(y, at, value);
  }

  // The elements that lie at the same offsets.
  void Reshape(const Held& operation) {
    const Tensor x(operation.Other(kReshapeX)), y(operation.Other(kReshapeY));
    if (Count(x.dims) != Count(y.dims)) throw std::runtime_error("a reshape of another size");
    std::map<int64_t, double> values;
    ForEach(x.dims, [&](const Index& at) { values[Offset(at, x.strides)] = Read(x, at); });
    ForEach(y.dims, [&](const Index& at) { Write(y, at, values.at(Offset(at, y.strides))); });
  }

  const std::map<int64_t, void*>& places_;
  std::map<int64_t, std::map<int64_t, double>> passing_;  // of virtual tensors, by offset
};

const std::vector<std::shared_ptr<Held>>& OperationsOf(Descriptor plan) {
  return AllAlive()
      .at(plan)
      ->Other(kPlanEngineConfig)
      .Other(kHeuristicsGraph)
      .others.at(kGraphOperations);
}

}  // namespace

const Library& OpenedLibrary(const char*) {
  static const Library* library = [] {
    auto* soft = new Library;
    soft->descriptor_create = &Create;
    soft->descriptor_destroy = &Destroy;
    soft->finalize = &Finalize;
    soft->set = &Set;
    soft->get = &Get;
    soft->found = true;
    return soft;
  }();
  return *library;
}

void RunSoftly(Descriptor plan, const std::map<int64_t, void*>& places) {
  Graph graph(places);
  for (const auto& operation : OperationsOf(plan)) graph.Run(*operation);
}

bool SumsComeAgain(Descriptor plan) {
  for (const auto& operation : OperationsOf(plan)) {
    if (operation->kind == kReductionOperation &&
        !operation->Other(kReductionDescriptor).One(kReductionIsDeterministic, false)) {
      return false;
    }
  }
  return true;
}

}  // namespace oneflow::kernels::cudnn
