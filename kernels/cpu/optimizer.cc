// Optimizer updates, elementwise, in place on states: one pass, SGD 12 (20 with momentum) and AdamW
// 28 bytes per element, two less where the gradient is bf16 or f16. It is widened first, then all is as
// for f32: the bits are those of a cast and an update. Formulas and their order are those of torch.optim.SGD and
// torch.optim.AdamW.
//
//   sgd    g += weight_decay * p;  m = step == 0 ? g : momentum * m + (1 - dampening) * g
//          p -= lr * (nesterov ? g + momentum * m : m)        without momentum: p -= lr * g
//   adamw  p *= 1 - lr * weight_decay;  m += (1 - beta1) * (g - m);  v = beta2 * v + (1 - beta2) *
//   g * g
//          p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps),  t = step + 1
#include <cmath>
#include <cstdint>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/cpu/definition.h"
#include "kernels/cpu/families.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scalar_types.h"
#include "kernels/cpu/simd.h"

namespace oneflow::kernels {
namespace {

double NumberOr(const Attrs& attrs, const std::string& name, double otherwise) {
  return attrs.Has(name) ? NumberAttr(attrs, name) : otherwise;
}

struct SgdConstants {
  float momentum, weight_decay, keep;  // keep = 1 - dampening
  bool nesterov;
};

// Here and below G is the gradient's type.
template <typename G>
struct SgdLoop {
  OF_LOOP static void Run(const float* p, const G* g, float* out, float lr, float weight_decay,
                          int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      out[i] = p[i] - lr * (Convert<float>(g[i]) + weight_decay * p[i]);
    }
  }
};
template <typename G>
struct SgdMomentumLoop {
  OF_LOOP static void Run(const float* p, const G* g, const float* m, float* p_out, float* m_out,
                          float lr, SgdConstants c, bool first, int64_t n) {
    const float old_share = first ? 0.0f : c.momentum;
    const float new_share = first ? 1.0f : c.keep;
    const float look_ahead = c.nesterov ? c.momentum : 0.0f;
    if (c.nesterov) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        const float grad = Convert<float>(g[i]) + c.weight_decay * p[i];
        const float old = first ? 0.0f : m[i];  // the buffer may hold anything before step 0
        const float next = old_share * old + new_share * grad;
        m_out[i] = next;
        p_out[i] = p[i] - lr * (grad + look_ahead * next);
      }
    } else {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        const float grad = Convert<float>(g[i]) + c.weight_decay * p[i];
        const float old = first ? 0.0f : m[i];
        const float next = old_share * old + new_share * grad;
        m_out[i] = next;
        p_out[i] = p[i] - lr * next;
      }
    }
  }
};

// Operands that are alike: inputs [0, tensors) and all outputs, but for the gradient's type, which is
// one of three; lr and step stand at `scalars`.
SpecCheck CheckUpdate(const KernelSpec& spec, size_t tensors, size_t scalars) {
  SpecCheck check(spec);
  check.Takes(check.in(0), {DType::kF32});
  check.Takes(check.in(1), {DType::kF32, DType::kBF16, DType::kF16});
  check.HasShape(check.in(1), check.in(0).shape);
  for (size_t i = 2; i < tensors; ++i) check.Same(check.in(i), check.in(0));
  for (const Operand& out : spec.outputs) check.Same(out, check.in(0));
  check.Scalar(check.in(scalars), DType::kF32).Scalar(check.in(scalars + 1), DType::kI64);
  return check;
}

// (p, g, lr, step) -> p, or (p, g, lr, step, m) -> p, m
absl::Status CheckSgd(const KernelSpec& spec) {
  SpecCheck check = CheckUpdate(spec, 2, 2);
  for (const char* name : {"momentum", "weight_decay", "dampening"}) check.NumberOr(name, 0);
  check.BoolOr("nesterov", false);
  check.Inputs(4, 5).Outputs(spec.inputs.size() == 5 ? 2 : 1);
  if (spec.inputs.size() == 5) check.Same(check.in(4), check.in(0));
  return check.status();
}

// (p, g, m, v, lr, step) -> p, m, v
absl::Status CheckAdamW(const KernelSpec& spec) {
  SpecCheck check = CheckUpdate(spec, 4, 4);
  for (const char* name : {"beta1", "beta2", "eps", "weight_decay"}) check.NumberOr(name, 0);
  return check.Inputs(6).Outputs(3).status();
}

// make.operator()<G>() for the gradient's type; CheckUpdate has seen that it is one of these.
template <typename Make>
KernelOr ForGradient(const KernelSpec& spec, const Make& make) {
  const DType dtype = spec.inputs.at(1).dtype;
  if (dtype == DType::kBF16) return make.template operator()<BF16>();
  if (dtype == DType::kF16) return make.template operator()<F16>();
  return make.template operator()<float>();
}

template <typename G>
KernelOr MakeSgdOf(const KernelSpec& spec) {
  const Attrs& attrs = spec.attrs;
  const SgdConstants constants = {static_cast<float>(NumberOr(attrs, "momentum", 0)),
                                  static_cast<float>(NumberOr(attrs, "weight_decay", 0)),
                                  static_cast<float>(1 - NumberOr(attrs, "dampening", 0)),
                                  attrs.Has("nesterov") && attrs.Bool("nesterov")};
  const int64_t n = NumElements(spec.inputs[0].shape);
  const auto plain = Vectorised<SgdLoop<G>>();
  const auto with_momentum = Vectorised<SgdMomentumLoop<G>>();
  const bool has_momentum = spec.inputs.size() > 4 && spec.outputs.size() > 1;
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    const float* p = In<float>(args, 0);
    const G* g = In<G>(args, 1);
    const float lr = *In<float>(args, 2);
    const bool first = *In<int64_t>(args, 3) == 0;
    float* out = Out<float>(args, 0);
    ParallelFor(threads, n, kGrain, [&](int64_t begin, int64_t end) {
      if (has_momentum) {
        with_momentum(p + begin, g + begin, In<float>(args, 4) + begin, out + begin,
                      Out<float>(args, 1) + begin, lr, constants, first, end - begin);
      } else {
        plain(p + begin, g + begin, out + begin, lr, constants.weight_decay, end - begin);
      }
    });
  });
}

struct AdamWConstants {
  float keep, new1, beta2, new2, step_size, root_correction, eps;
};

template <typename G>
struct AdamWLoop {
  OF_LOOP static void Run(const float* p, const G* g, const float* m, const float* v, float* p_out,
                          float* m_out, float* v_out, AdamWConstants c, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      const float grad = Convert<float>(g[i]);
      const float mean = m[i] + c.new1 * (grad - m[i]);
      const float square = c.beta2 * v[i] + c.new2 * grad * grad;
      const float denominator = std::sqrt(square) / c.root_correction + c.eps;
      m_out[i] = mean;
      v_out[i] = square;
      p_out[i] = p[i] * c.keep - c.step_size * mean / denominator;
    }
  }
};

// What the attributes say.
struct AdamWRates {
  double beta1, beta2, eps, weight_decay;

  static AdamWRates Of(const Attrs& attrs) {
    return {NumberOr(attrs, "beta1", 0.9), NumberOr(attrs, "beta2", 0.999),
            NumberOr(attrs, "eps", 1e-8), NumberOr(attrs, "weight_decay", 0.01)};
  }
  AdamWConstants At(double lr, int64_t step) const {
    const double t = static_cast<double>(step) + 1;
    return {static_cast<float>(1 - lr * weight_decay),
            static_cast<float>(1 - beta1),
            static_cast<float>(beta2),
            static_cast<float>(1 - beta2),
            static_cast<float>(lr / (1 - std::pow(beta1, t))),
            static_cast<float>(std::sqrt(1 - std::pow(beta2, t))),
            static_cast<float>(eps)};
  }
};

// Updates one parameter of a call: inputs from `in` on are p, g, m and v, outputs from `out` on p, m and v.
template <typename G>
class OneAdamW {
 public:
  OneAdamW(int in, int out, int64_t n)
      : in_(in), out_(out), n_(n), loop_(Vectorised<AdamWLoop<G>>()) {}
  void operator()(const KernelArgs& args, const AdamWConstants& constants, int threads) const {
    const float* p = In<float>(args, in_);
    const G* g = In<G>(args, in_ + 1);
    const float* m = In<float>(args, in_ + 2);
    const float* v = In<float>(args, in_ + 3);
    float* p_out = Out<float>(args, out_);
    float* m_out = Out<float>(args, out_ + 1);
    float* v_out = Out<float>(args, out_ + 2);
    ParallelFor(threads, n_, kGrain / 2, [&](int64_t begin, int64_t end) {
      loop_(p + begin, g + begin, m + begin, v + begin, p_out + begin, m_out + begin, v_out + begin,
            constants, end - begin);
    });
  }

 private:
  int in_, out_;
  int64_t n_;
  decltype(&AdamWLoop<G>::Run) loop_;
};

template <typename G>
KernelOr MakeAdamWOf(const KernelSpec& spec) {
  const AdamWRates rates = AdamWRates::Of(spec.attrs);
  const OneAdamW<G> update(0, 0, NumElements(spec.inputs[0].shape));
  return KernelOf([=, threads = spec.threads](const KernelArgs& args) {
    update(args, rates.At(*In<float>(args, 4), *In<int64_t>(args, 5)), threads);
  });
}

// (lr, step, p, g, m, v, ..) -> p, m, v, ..
absl::Status CheckAdamWs(const KernelSpec& spec) {
  SpecCheck check(spec);
  check.Scalar(check.in(0), DType::kF32).Scalar(check.in(1), DType::kI64);
  const size_t count = spec.inputs.size() < 2 ? 0 : (spec.inputs.size() - 2) / 4;
  check.Require(count > 0 && spec.inputs.size() == 2 + 4 * count, "four tensors per parameter");
  check.Outputs(3 * count);
  for (size_t i = 0; i < count && check.ok(); ++i) {
    const Operand& p = check.in(2 + 4 * i);
    const Operand& g = check.in(3 + 4 * i);
    check.Takes(p, {DType::kF32}).Takes(g, {DType::kF32, DType::kBF16, DType::kF16});
    check.HasShape(g, p.shape).Same(check.in(4 + 4 * i), p).Same(check.in(5 + 4 * i), p);
    for (size_t k = 3 * i; k < 3 * i + 3; ++k) check.Same(check.out(k), p);
  }
  for (const char* name : {"beta1", "beta2", "eps", "weight_decay"}) check.NumberOr(name, 0);
  return check.status();
}

KernelOr MakeAdamWs(const KernelSpec& spec) {
  std::vector<std::variant<OneAdamW<float>, OneAdamW<BF16>, OneAdamW<F16>>> updates;
  for (size_t i = 2; i + 3 < spec.inputs.size(); i += 4) {
    const int in = static_cast<int>(i), out = in / 4 * 3;
    const int64_t n = NumElements(spec.inputs[i].shape);
    const DType dtype = spec.inputs[i + 1].dtype;
    if (dtype == DType::kBF16) {
      updates.emplace_back(OneAdamW<BF16>(in, out, n));
    } else if (dtype == DType::kF16) {
      updates.emplace_back(OneAdamW<F16>(in, out, n));
    } else {
      updates.emplace_back(OneAdamW<float>(in, out, n));
    }
  }
  return KernelOf([updates = std::move(updates), rates = AdamWRates::Of(spec.attrs),
                   threads = spec.threads](const KernelArgs& args) {
    const AdamWConstants constants = rates.At(*In<float>(args, 0), *In<int64_t>(args, 1));
    for (const auto& update : updates) {
      std::visit([&](const auto& one) { one(args, constants, threads); }, update);
    }
  });
}

KernelOr MakeSgd(const KernelSpec& spec) {
  return ForGradient(spec, [&]<typename G>() { return MakeSgdOf<G>(spec); });
}
KernelOr MakeAdamW(const KernelSpec& spec) {
  return ForGradient(spec, [&]<typename G>() { return MakeAdamWOf<G>(spec); });
}

// Parameter and slots in place.
absl::StatusOr<Needs> DescribeSgd(const KernelSpec& spec) {
  if (spec.outputs.size() < 2) return Needs{0, {{0, 0}}};
  return Needs{0, {{0, 0}, {1, 4}}};
}
absl::StatusOr<Needs> DescribeAdamW(const KernelSpec&) {
  return Needs{0, {{0, 0}, {1, 2}, {2, 3}}};
}

absl::StatusOr<Needs> DescribeAdamWs(const KernelSpec& spec) {
  Needs needs;
  for (int i = 0; i + 2 < static_cast<int>(spec.outputs.size()); i += 3) {
    const int in = 2 + i / 3 * 4;
    needs.aliases.insert(needs.aliases.end(), {{i, in}, {i + 1, in + 2}, {i + 2, in + 3}});
  }
  return needs;
}

}  // namespace

std::vector<KernelDef> OptimizerKernels() {
  return {{"sgd_update", CheckSgd, DescribeSgd, MakeSgd},
          {"adamw_update", CheckAdamW, DescribeAdamW, MakeAdamW},
          {"adamw_updates", CheckAdamWs, DescribeAdamWs, MakeAdamWs}};
}

}  // namespace oneflow::kernels
