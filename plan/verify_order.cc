// Proof 4: one order. Streams are in stamp order (proof 2); here: whatever belongs to one
// collective or channel has one place in that order on every member, so no two members can meet two
// collectives crosswise.
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plan/firings.h"
#include "plan/proofs.h"
#include "plan/sharding.h"

namespace oneflow {
namespace {

const char kOneOrderProof[] = "one order";

std::string StampText(const plan::StampProto& stamp) {
  return absl::StrCat("slot ", stamp.slot(), "+", stamp.slot_per_micro(), "m, position ",
                      stamp.position(), ".", stamp.sub());
}

// The coordinate of every local device on `pp`.
std::vector<int> StagesOfDevices(const plan::Plan& plan) {
  const Mesh mesh = Mesh::FromProto(plan.mesh());
  std::map<int, int> stage_of;
  for (int stage = 0; stage < mesh.stages(); ++stage) {
    for (const int device : mesh.StageDevices(stage)) stage_of[device] = stage;
  }
  std::vector<int> stages;
  for (const plan::DeviceProto& device : plan.devices()) {
    const auto found = stage_of.find(static_cast<int>(device.id()));
    stages.push_back(found == stage_of.end() ? -1 : found->second);
  }
  return stages;
}

absl::Status Channel(const plan::Plan& plan, uint32_t t) {
  const plan::Task& task = plan.tasks(static_cast<int>(t));
  const plan::ChannelProto& channel = plan.channels(static_cast<int>(task.channel()));
  const plan::StampProto& stamp = channel.stamp();
  const bool same_place = stamp.slot() == task.stamp().slot() &&
                          stamp.slot_per_micro() == task.stamp().slot_per_micro() &&
                          stamp.position() == task.stamp().position();
  const bool sends = task.kind() == plan::SEND;
  if (same_place && (!sends || stamp.sub() == task.stamp().sub())) return absl::OkStatus();
  return ProofError(plan, kOneOrderProof, t,
                    absl::StrCat(TaskText(plan, t), sends ? " sends" : " receives", " on channel ",
                                 channel.name(), " at ", StampText(task.stamp()),
                                 ", but the channel's messages are sent at ", StampText(stamp)));
}

}  // namespace

absl::Status ProveOneOrder(const plan::Plan& plan) {
  const std::vector<int> stages = StagesOfDevices(plan);
  std::map<std::pair<uint32_t, int>, uint32_t> members;  // (position, stage) -> first task
  for (uint32_t t = 0; t < static_cast<uint32_t>(plan.tasks_size()); ++t) {
    const plan::Task& task = plan.tasks(static_cast<int>(t));
    if (task.kind() == plan::SEND || task.kind() == plan::RECV) {
      absl::Status status = Channel(plan, t);
      if (!status.ok()) return status;
      continue;
    }
    if (task.reshard().empty()) continue;
    const auto [member, first] =
        members.try_emplace({task.stamp().position(), stages[task.device()]}, t);
    if (first) continue;
    const plan::Task& other = plan.tasks(static_cast<int>(member->second));
    if (other.stamp().slot() != task.stamp().slot() ||
        other.stamp().slot_per_micro() != task.stamp().slot_per_micro() ||
        other.reshard() != task.reshard()) {
      return ProofError(
          plan, kOneOrderProof, t,
          absl::StrCat(TaskText(plan, t), " (", task.reshard(), ", ", StampText(task.stamp()),
                       ") and ", TaskText(plan, member->second), " (", other.reshard(), ", ",
                       StampText(other.stamp()),
                       ") are members of one collective but have "
                       "different places in the order"));
    }
  }
  return absl::OkStatus();
}

}  // namespace oneflow
