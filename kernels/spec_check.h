// SpecCheck: what a kernel asks of a KernelSpec before it is made, one line per demand. A plan file
// is untrusted, so these checks are total: a spec that passes them makes a kernel that stays inside
// its operands.
//
//   absl::Status CheckSlice(const KernelSpec& spec) {
//     SpecCheck check(spec);
//     check.Inputs(1).Outputs(1).SameDType();
//     const size_t dim = check.Dim("dim", check.in(0));
//     return check.status();
//   }
//
// A value on the stack of a check. Threads: one. Invariants: the first demand that fails is the
// status, what follows is skipped; accessors never fail: an operand that is not there is empty, an
// attribute that is missing, of another type or out of range is a harmless number. Read next:
// kernels/kernel.h (KernelDef::check), kernels/cpu/shape.cc.
#ifndef ONEFLOW_KERNELS_SPEC_CHECK_H_
#define ONEFLOW_KERNELS_SPEC_CHECK_H_

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "kernels/kernel.h"

namespace oneflow::kernels {

// Bounds of what a spec may ask for: far above any real one, far below where products overflow.
inline constexpr int64_t kMaxOperandBytes = int64_t{1} << 45;
inline constexpr int kMaxTeam = 1024;

class SpecCheck {
 public:
  explicit SpecCheck(const KernelSpec& spec) : spec_(spec) {}

  // Numbers of operands.
  SpecCheck& Inputs(size_t count) { return Inputs(count, count); }
  SpecCheck& Inputs(size_t least, size_t most);
  SpecCheck& Outputs(size_t count);

  // One of `dtypes`, else a DTypeError: the op has no kernel for it on this device.
  SpecCheck& Takes(const Operand& operand, std::initializer_list<DType> dtypes);
  // All operands have one dtype.
  SpecCheck& SameDType();
  // Dtype and shape.
  SpecCheck& Same(const Operand& a, const Operand& b);
  SpecCheck& Rank(const Operand& operand, size_t least, size_t most);
  SpecCheck& HasShape(const Operand& operand, const Shape& shape);
  SpecCheck& Scalar(const Operand& operand, DType dtype);
  // NumPy's rule: dims aligned at the end are equal or 1 in `from`.
  SpecCheck& Broadcasts(const Shape& from, const Shape& to);
  // The region `extent` at `begin` lies inside `shape`.
  SpecCheck& Inside(const Shape& begin, const Shape& extent, const Shape& shape);
  // The operand says where it lies in its logical tensor, and does lie there.
  SpecCheck& Placed(const Operand& operand);

  // Any other demand, as what must hold: "the inner extents are equal".
  SpecCheck& Require(bool holds, std::string_view demand);

  // Attributes. The ..Or forms take a missing attribute for `otherwise`.
  int64_t Int(const std::string& name, int64_t least, int64_t most);
  int64_t IntOr(const std::string& name, int64_t otherwise, int64_t least, int64_t most);
  // An int or a float.
  double Number(const std::string& name);
  double NumberOr(const std::string& name, double otherwise);
  bool BoolOr(const std::string& name, bool otherwise);
  std::string Text(const std::string& name);
  std::string TextOr(const std::string& name, const std::string& otherwise);
  std::vector<int64_t> Ints(const std::string& name);
  std::vector<std::string> Texts(const std::string& name);
  // One int for both image dims, or [height, width].
  std::array<int64_t, 2> Pair(const std::string& name, int64_t least, int64_t most);
  // A dim of the operand, counted from the end if negative; 0 for a scalar, which takes 0 and -1.
  size_t Dim(const std::string& name, const Operand& operand);
  // `dim` as Dim takes it.
  size_t WrappedDim(int64_t dim, const Operand& operand);
  // An int, or a text that is hashed.
  SpecCheck& IntOrText(const std::string& name);

  const Operand& in(size_t i) const;
  const Operand& out(size_t i) const;
  const KernelSpec& spec() const { return spec_; }
  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }

 private:
  const AttrValue* Find(const std::string& name) const;
  // The attribute as T; nullptr, and the status, if it is missing or of another type.
  template <typename T>
  const T* Get(const std::string& name, std::string_view type);
  int64_t InRange(const std::string& name, int64_t value, int64_t least, int64_t most);

  const KernelSpec& spec_;
  absl::Status status_;
};

// What every kernel asks, whatever its op: dtypes that exist, shapes whose bytes can be counted, a
// team that can be made.
absl::Status CheckOperands(const KernelSpec& spec);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_SPEC_CHECK_H_
