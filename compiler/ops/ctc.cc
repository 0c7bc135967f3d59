// Connectionist temporal classification: the loss that trains sequences whose labels have no places.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "compiler/ops/cost.h"
#include "compiler/ops/families.h"
#include "compiler/ops/shape_functions.h"

namespace oneflow {
namespace {

// What the op and its gradient take alike.
absl::Status CheckCtc(const std::string& name, const OpContext& op) {
  const TensorType& log_probs = op.inputs[0];
  OF_RETURN_IF_ERROR(CheckRank(name, "log_probs", log_probs, 3, "[frames, n, classes]"));
  OF_RETURN_IF_ERROR(CheckRank(name, "targets", op.inputs[1], 2, "[n, labels]"));
  const int64_t samples = log_probs.shape[1];
  OF_RETURN_IF_ERROR(CheckShape(name, "targets", op.inputs[1], {samples, op.inputs[1].shape[1]},
                                "a row for each sample of log_probs"));
  OF_RETURN_IF_ERROR(
      CheckShape(name, "input_lengths", op.inputs[2], {samples}, "one for each sample"));
  OF_RETURN_IF_ERROR(
      CheckShape(name, "target_lengths", op.inputs[3], {samples}, "one for each sample"));
  const int64_t blank = op.attrs.Int("blank");
  if (blank >= 0 && blank < log_probs.shape[2]) return absl::OkStatus();
  return MakeError(ErrorKind::kShape,
                   absl::StrCat(name, ": blank is ", blank, " and log_probs is ",
                                log_probs.ToString(), " with classes 0 .. ", log_probs.shape[2] - 1,
                                ": the blank must be one of them"));
}

// [n, frames, states]: states are the labels with a blank before, between and behind them.
Shape AlphasShape(const OpContext& op) {
  return {op.inputs[0].shape[1], op.inputs[0].shape[0], 2 * op.inputs[1].shape[1] + 1};
}

void AddProblem(OpDef* def) {
  def->Type("T", FullFloat())
      .In("log_probs", "T", "[frames, n, classes], log_softmax over the classes")
      .In("targets", DType::kI64, "[n, labels], class indices; what is behind a length is not read")
      .In("input_lengths", DType::kI64, "[n], frames of each sample")
      .In("target_lengths", DType::kI64, "[n], labels of each sample")
      .Attr("blank", "int", int64_t{0}, "the class that stands for no label");
}

// A frame reaches each state by three others, in a logarithm and three exponentials.
CostFn PerState(int64_t flops) {
  return [flops](const OpContext& op) {
    return OpCost{flops * NumElements(AlphasShape(op)), BytesOf(op)};
  };
}

OpDef CtcLoss() {
  OpDef def("ctc_loss");
  def.Doc(
         "loss[i] = -log of the probability of sample i's labels: the sum over all ways to write "
         "them over its frames, each label for one frame or more, blanks anywhere between, and "
         "always between two equal labels (Graves et al. 2006). inf where there is no way. A label "
         "or a length out of range is a DataError.")
      .MayFail();
  AddProblem(&def);
  def.Out("loss", "T", "[n]")
      .Out("alphas", "T",
           "[n, frames, 2 labels + 1], log probability of all ways to a state at a frame: kept for "
           "the gradient")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        OF_RETURN_IF_ERROR(CheckCtc("ctc_loss", op));
        return Shapes{op.inputs[2].shape, AlphasShape(op)};
      })
      .Sharding("t n c, n s, n, n -> n, n t r ; whole t c s r")
      .Grad([](GradBuilder& g) -> absl::Status {
        if (!g.NeedsGrad(0)) return absl::OkStatus();
        if (g.dout(1) >= 0) {
          return MakeError(ErrorKind::kError,
                           "ctc_loss: its second result, alphas, has no gradient; it is kept for "
                           "the gradient of the loss");
        }
        g.SetGrad(0, g.Op("ctc_loss_grad",
                          {g.in(0), g.in(1), g.in(2), g.in(3), g.out(1), g.out(0), g.dout(0)},
                          g.attrs()));
        return absl::OkStatus();
      })
      .Cost(PerState(50));
  return def;
}

OpDef CtcLossGrad() {
  OpDef def("ctc_loss_grad");
  def.Doc(
      "Gradient of ctc_loss by what log_softmax takes: dlog_probs = dloss * (exp(log_probs) - the "
      "share of all ways that are at this class in this frame). Its sum over the classes is 0, as "
      "in PyTorch. 0 behind a sample's frames; nan where the loss is inf, unless dloss is 0.");
  AddProblem(&def);
  def.In("alphas", "T", "second result of ctc_loss")
      .In("loss", "T", "[n], first result of ctc_loss")
      .In("dloss", "T", "[n], gradient of the loss of each sample")
      .Out("dlog_probs", "T", "as log_probs")
      .Shape([](const OpContext& op) -> absl::StatusOr<Shapes> {
        const std::string name = "ctc_loss_grad";
        OF_RETURN_IF_ERROR(CheckCtc(name, op));
        OF_RETURN_IF_ERROR(
            CheckShape(name, "alphas", op.inputs[4], AlphasShape(op), "that of the forward op"));
        for (const size_t i : {5, 6}) {
          OF_RETURN_IF_ERROR(CheckShape(name, i == 5 ? "loss" : "dloss", op.inputs[i],
                                        op.inputs[2].shape, "one for each sample"));
        }
        return Shapes{op.inputs[0].shape};
      })
      .Sharding("t n c, n s, n, n, n t r, n, n -> t n c ; whole t c s r")
      .NotDifferentiable("it is a gradient itself: second derivatives are not supported")
      .Cost(PerState(80));
  return def;
}

}  // namespace

std::vector<OpDef> CtcOps() { return {CtcLoss(), CtcLossGrad()}; }

}  // namespace oneflow
