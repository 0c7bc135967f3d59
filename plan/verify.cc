#include "plan/verify.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "plan/proofs.h"

namespace oneflow {
namespace {

absl::Status ProveAlone(const plan::Plan& plan, const OpRules& rule_of) {
  OF_RETURN_IF_ERROR(ProveWellFormed(plan));
  FiringGraph graph(plan);
  OF_RETURN_IF_ERROR(ProveLive(plan, graph));
  const HappensBefore order(plan, std::move(graph));
  OF_RETURN_IF_ERROR(ProveNoOverlap(plan, order));
  OF_RETURN_IF_ERROR(ProveOneOrder(plan));
  OF_RETURN_IF_ERROR(ProveTypes(plan, rule_of));
  OF_RETURN_IF_ERROR(ProveFlow({&plan}));
  OF_RETURN_IF_ERROR(ProveCompletions(plan));
  return ProveGated(plan, order);
}

}  // namespace

absl::Status VerifyPlan(const plan::Plan& plan, const OpRules& rule_of) {
  return ProveAlone(plan, rule_of);
}

absl::Status VerifyPlans(const std::vector<const plan::Plan*>& plans, const OpRules& rule_of) {
  for (const plan::Plan* plan : plans) {
    absl::Status status = ProveAlone(*plan, rule_of);
    if (!status.ok()) {
      return plans.size() == 1 ? status : WithContext(status, absl::StrCat("rank ", plan->rank()));
    }
  }
  OF_RETURN_IF_ERROR(ProveChannelsAgree(plans));
  if (plans.size() > 1) OF_RETURN_IF_ERROR(ProveFlow(plans));
  return ProveFires(plans);
}

absl::Status ProofError(const plan::Plan& plan, const std::string& proof, uint32_t task,
                        const std::string& message) {
  return MakeError(ErrorKind::kPlan, absl::StrCat(proof, ": ", message),
                   LocationOfTask(plan, task));
}

std::string TaskText(const plan::Plan& plan, uint32_t task) {
  if (task >= static_cast<uint32_t>(plan.tasks_size())) return absl::StrCat("task ", task);
  return absl::StrCat(plan.tasks(static_cast<int>(task)).name(), " (",
                      LocationOfTask(plan, task).Short(), ")");
}

std::string RegisterText(const plan::Plan& plan, uint32_t register_id) {
  if (register_id >= static_cast<uint32_t>(plan.registers_size())) {
    return absl::StrCat("register ", register_id);
  }
  const uint32_t producer = plan.registers(static_cast<int>(register_id)).producer();
  if (producer >= static_cast<uint32_t>(plan.tasks_size()))
    return absl::StrCat("register ", register_id);
  return absl::StrCat("register ", register_id, " (of ",
                      plan.tasks(static_cast<int>(producer)).name(), ", ",
                      LocationOfTask(plan, producer).Short(), ")");
}

}  // namespace oneflow
