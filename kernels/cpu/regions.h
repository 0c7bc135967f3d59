// Regions: what the movement tasks copy and combine, as values: computed and checked once from a
// task's attributes, run by the kernels of each kind of device.
//
// Values. Threads: const access from any. Invariant: every region lies inside its tensors; plans are
// untrusted input, and a bad region must not become a stray write. Read next:
// kernels/cpu/movement.cc, kernels/cuda/movement_kernels.cc.
#ifndef ONEFLOW_KERNELS_CPU_REGIONS_H_
#define ONEFLOW_KERNELS_CPU_REGIONS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cpu/combine.h"
#include "kernels/cpu/strided_copy.h"
#include "kernels/kernel.h"

namespace oneflow::kernels {

inline int64_t BytesOf(const Operand& operand) {
  return NumElements(operand.shape) * SizeOf(operand.dtype);
}

// ---- Shape ops ----

// Strides of the input of `permute`, in the order of the result's dims.
Shape PermutedStrides(const KernelSpec& spec);
// Where each input of `cat` goes.
std::vector<StridedCopy> CatRegions(const KernelSpec& spec);
// What `slice` copies, and `slice_grad` after it has filled its output with zeros.
StridedCopy SlicedRegion(const KernelSpec& spec);
StridedCopy SliceGradRegion(const KernelSpec& spec);
// The element of `constant`, in the low bytes.
uint64_t ConstantBits(const KernelSpec& spec);

// ---- Movement tasks ----

// What `pack` copies.
absl::StatusOr<StridedCopy> PackedRegion(const KernelSpec& spec);

// What `assemble` does: zeros first (0 bytes: none), then the pieces in their order.
struct Piece {
  int64_t input = 0;
  CombineMode mode = CombineMode::kCopy;
  StridedCopy region;
};
struct Assembly {
  int64_t zero_bytes = 0;
  std::vector<Piece> pieces;
  bool is_copy =
      false;  // of all of its one input, element by element: in place there is nothing to do
};
absl::StatusOr<Assembly> AssemblyOf(const KernelSpec& spec);
absl::StatusOr<Needs> DescribeAssembly(const KernelSpec& spec);

// One dim dealt out in `parts` shares of whole units (the ring), each in `pieces` that travel one by one.
class Shares {
 public:
  static absl::StatusOr<Shares> Of(const KernelSpec& spec, const Shape& shape);
  // What chunk c sends: piece c mod pieces of share (base - c div pieces) mod parts, as a place in
  // `extents`; and what it receives, that piece of the share before it.
  int64_t Sent(int64_t chunk) const { return Place(chunk, 0); }
  int64_t Received(int64_t chunk) const { return Place(chunk, 1); }
  // Of all pieces, share by share.
  const std::vector<Shape>& extents() const { return extents_; }
  const std::vector<Shape>& begins() const { return begins_; }

 private:
  int64_t Place(int64_t chunk, int64_t back) const {
    const int64_t index = (base_ - back - chunk / pieces_) % parts_;
    return (index < 0 ? index + parts_ : index) * pieces_ + chunk % pieces_;
  }

  int64_t parts_ = 1;
  int64_t pieces_ = 1;
  int64_t base_ = 0;
  std::vector<Shape> extents_;
  std::vector<Shape> begins_;
};

// By piece: into a dense chunk (`ring_send`), or a dense chunk into the buffer (`ring_reduce`).
absl::StatusOr<std::vector<StridedCopy>> SentShares(const KernelSpec& spec, const Shares& shares);
absl::StatusOr<std::vector<StridedCopy>> ReceivedShares(const KernelSpec& spec,
                                                        const Shares& shares);

// All of a dense tensor.
StridedCopy Whole(const Operand& operand);

// One micro-batch's part of a dense tensor: a copy of the first one, the number of parts, and the
// elements from one to the next in the whole.
struct MicroParts {
  StridedCopy copy;
  int64_t parts = 1;
  int64_t stride = 0;

  // That there is such a part: the spec does not say how many micro-batches the plan has.
  absl::Status Check(const std::string& op, uint32_t micro) const;
};
// `micro_slice` (out of the whole) and `micro_concat` (into it).
absl::StatusOr<MicroParts> MicroSliceOf(const KernelSpec& spec);
absl::StatusOr<MicroParts> MicroConcatOf(const KernelSpec& spec);

}  // namespace oneflow::kernels

#endif  // ONEFLOW_KERNELS_CPU_REGIONS_H_
