#include "plan/sent_pieces.h"

#include <string>

#include "base/dtype.h"
#include "base/shape.h"
#include "base/status.h"
#include "plan/attrs.h"
#include "plan/shape_of.h"
#include "plan/sharding.h"

namespace oneflow {
namespace {

absl::Status Wrong(const std::string& what) { return MakeError(ErrorKind::kPlan, what); }

absl::StatusOr<int64_t> Number(const Attrs& attrs, const std::string& name, int64_t least,
                               int64_t most) {
  const int64_t* value = attrs.Find<int64_t>(name);
  if (value == nullptr || *value < least || *value > most) {
    return Wrong(absl::StrCat("sends pieces, but has no ", name, " from ", least, " to ", most));
  }
  return *value;
}

// Of the shares that go round `back` places behind those that the task sends.
absl::StatusOr<SentPieces> PiecesOf(const plan::Task& send, int64_t back) {
  if (send.level() != plan::CHUNK) return Wrong("sends pieces outside of a chunk loop");
  const plan::TensorTypeProto& type = send.inputs(0).type();
  const Shape shape = ShapeOf(type.shape());
  const Attrs attrs = Attrs::FromProto(send.attrs());
  OF_ASSIGN_OR_RETURN(const int64_t dim,
                      Number(attrs, "dim", 0, static_cast<int64_t>(shape.size()) - 1));
  const int64_t extent = shape[static_cast<size_t>(dim)];
  OF_ASSIGN_OR_RETURN(const int64_t units, Number(attrs, "units", 1, extent));
  OF_ASSIGN_OR_RETURN(const int64_t parts, Number(attrs, "parts", 1, units));
  OF_ASSIGN_OR_RETURN(const int64_t base, Number(attrs, "base", 0, parts - 1));
  int64_t pieces = 1;
  if (attrs.Has("pieces")) {
    OF_ASSIGN_OR_RETURN(pieces, Number(attrs, "pieces", 1, units / parts));
  }
  for (int64_t d = 0; d < dim; ++d) {
    if (shape[static_cast<size_t>(d)] != 1)
      return Wrong("sends pieces that are no stretch of memory");
  }
  if (extent % units != 0 || units % (parts * pieces) != 0) return Wrong("sends unequal pieces");
  SentPieces sent;
  sent.bytes = NumElements(shape) / (parts * pieces) * SizeOf(static_cast<DType>(type.dtype()));
  for (int64_t chunk = 0; chunk < static_cast<int64_t>(send.chunks()); ++chunk) {
    const int64_t share = ((base - back - chunk / pieces) % parts + parts) % parts;
    sent.offsets.push_back((share * pieces + chunk % pieces) * sent.bytes);
  }
  return sent;
}

}  // namespace

bool SendsPieces(const plan::Task& send) { return send.attrs_size() > 0; }

absl::StatusOr<SentPieces> SentPiecesOf(const plan::Task& send) { return PiecesOf(send, 0); }
absl::StatusOr<SentPieces> ReceivedPiecesOf(const plan::Task& reduce) {
  return PiecesOf(reduce, 1);
}

}  // namespace oneflow
