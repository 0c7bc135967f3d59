#include "runtime/stall.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/location.h"

namespace oneflow {
namespace {

// The earliest firing of a task that is not over.
FiringId NextFiring(const RunSnapshot& run, uint32_t task) {
  return run.program->FiringAt(task, run.actors[task].finished());
}

bool IsInFlight(const Actor& actor) { return actor.started() > actor.finished(); }

std::string Where(const RunSnapshot& run, uint32_t task) {
  const FiringId firing = NextFiring(run, task);
  return absl::StrCat(run.program->NameOf(task), " step ", firing.step, " micro ", firing.micro,
                      firing.chunk > 0 ? absl::StrCat(" chunk ", firing.chunk) : "");
}

const std::string& TaskName(const RunSnapshot& run, uint32_t task) {
  return run.program->plan().tasks(static_cast<int>(task)).name();
}

const plan::ChannelProto& ChannelOf(const RunSnapshot& run, uint32_t task) {
  const plan::Plan& plan = run.program->plan();
  return plan.channels(static_cast<int>(plan.tasks(static_cast<int>(task)).channel()));
}

// The task that owns credit counter `credit` of `task`.
uint32_t ConsumerOf(const ActorSpec& spec, uint32_t credit, uint32_t* register_id) {
  for (const ActorSpec::Output& output : spec.outputs) {
    if (credit >= output.first_credit && credit - output.first_credit < output.consumers.size()) {
      *register_id = output.register_id;
      return output.consumers[credit - output.first_credit].task;
    }
  }
  return 0;
}

// One thing that a task waits for: the task that must act (on this rank, or over a channel) and a
// text.
struct Wait {
  int64_t task = -1;    // on this rank
  std::string channel;  // or: what is at the other end of it
  std::string text;
};

std::vector<Wait> WaitsOf(const RunSnapshot& run, uint32_t task) {
  const Actor& actor = run.actors[task];
  const ActorSpec& spec = actor.spec();
  std::vector<Wait> waits;
  if (IsInFlight(actor) && !spec.receives) {
    if (spec.sends) {
      waits.push_back({-1, "",
                       absl::StrCat("is sending to rank ", ChannelOf(run, task).destination(),
                                    " on channel ", ChannelOf(run, task).name())});
    } else if (run.running_ns[task] >= 0) {
      waits.push_back({-1, "", absl::StrCat("runs since ", run.running_ns[task] / 1000000, " ms")});
    } else if (actor.enqueued() > actor.finished()) {
      waits.push_back({-1, "", "is on its device"});
    } else {
      waits.push_back({-1, "", "could run, its thread is busy"});
    }
    return waits;
  }
  if (IsInFlight(actor)) {
    const plan::ChannelProto& channel = ChannelOf(run, task);
    waits.push_back({-1, channel.name(),
                     absl::StrCat("waits for rank ", channel.source(), " to send on channel ",
                                  channel.name())});
    return waits;
  }
  for (const Actor::Missing& missing : actor.WhatIsMissing()) {
    switch (missing.kind) {
      case Actor::Missing::kTurn: {
        const int64_t turn = run.turns[run.stream_of[task]];
        if (turn == StreamOrder::kNobody || turn == task) {
          waits.push_back({-1, "", "waits for the next invocation"});
        } else {
          waits.push_back(
              {turn, "", absl::StrCat("waits for its turn after ", TaskName(run, turn))});
        }
        break;
      }
      case Actor::Missing::kInput: {
        const ActorSpec::Input& input = spec.inputs[missing.index];
        waits.push_back({input.producer.task, "",
                         absl::StrCat("waits for r", input.register_id, " from ",
                                      TaskName(run, input.producer.task))});
        break;
      }
      case Actor::Missing::kCredit: {
        uint32_t register_id = 0;
        const uint32_t consumer = ConsumerOf(spec, missing.index, &register_id);
        waits.push_back(
            {consumer, "",
             absl::StrCat("waits for a credit of r", register_id, " (",
                          run.program->plan().registers(static_cast<int>(register_id)).slots(),
                          " slots) from ", TaskName(run, consumer))});
        break;
      }
      case Actor::Missing::kAfter: {
        const uint32_t first = spec.after[missing.index].task;
        waits.push_back({first, "", absl::StrCat("must run after ", TaskName(run, first))});
        break;
      }
      case Actor::Missing::kPeerPost: {
        const plan::ChannelProto& channel = ChannelOf(run, task);
        waits.push_back({-1, channel.name(),
                         absl::StrCat("waits for rank ", channel.destination(),
                                      " to post a slot of channel ", channel.name())});
        break;
      }
    }
  }
  if (waits.empty()) waits.push_back({-1, "", "could fire"});
  return waits;
}

std::string TextOf(const std::vector<Wait>& waits) {
  std::vector<std::string> texts;
  for (const Wait& wait : waits) texts.push_back(wait.text);
  return absl::StrJoin(texts, ", ");
}

// Tasks that give to or take from `task`.
std::set<uint32_t> NeighboursOf(const RunSnapshot& run, uint32_t task) {
  const ActorSpec& spec = run.actors[task].spec();
  std::set<uint32_t> neighbours;
  for (const ActorSpec::Input& input : spec.inputs) neighbours.insert(input.producer.task);
  for (const ActorSpec::Output& output : spec.outputs) {
    for (const Address& consumer : output.consumers) neighbours.insert(consumer.task);
  }
  for (const ActorSpec::After& after : spec.after) neighbours.insert(after.task);
  neighbours.erase(task);
  return neighbours;
}

}  // namespace

std::string DescribeActor(const RunSnapshot& run, uint32_t task) {
  return absl::StrCat(Where(run, task), ": ", TextOf(WaitsOf(run, task)), " [",
                      run.actors[task].ToString(), "]");
}

std::string DescribeRun(const RunSnapshot& run) {
  std::string text =
      absl::StrCat("plan ", run.program->plan().name(), " rank ", run.program->plan().rank(), ": ",
                   run.launched, " steps launched, ", run.completed, " completed\n");
  for (uint32_t t = 0; t < run.actors.size(); ++t) {
    absl::StrAppend(&text, "  ", DescribeActor(run, t), "\n");
  }
  return text;
}

Stall FindStall(const RunSnapshot& run) {
  int64_t culprit = -1;
  Stamp first{};
  for (uint32_t t = 0; t < run.actors.size(); ++t) {
    const FiringId firing = NextFiring(run, t);
    if (firing.step >= run.launched) continue;
    const Stamp stamp = StampOf(run.program->plan(), firing);
    if (culprit < 0 || stamp < first) {
      culprit = t;
      first = stamp;
    }
  }
  Stall stall;
  if (run.program->runs_whole_steps()) {
    const plan::Plan& plan = run.program->plan();
    for (const plan::ChannelProto& channel : plan.channels()) {
      stall.peers.insert(
          {static_cast<int>(channel.source()), static_cast<int>(channel.destination())});
    }
    stall.peers.erase(static_cast<int>(plan.rank()));
    if (stall.peers.size() == 1) stall.missing_peer = *stall.peers.begin();
    stall.text = absl::StrCat("  step ", run.completed,
                              " was given to its device as a whole and is not over",
                              stall.peers.empty() ? "" : "; it has calls with ranks ",
                              absl::StrJoin(stall.peers, ","), "\n");
    return stall;
  }
  if (culprit < 0) {
    stall.text = "every firing of the launched steps is over";
    return stall;
  }
  const uint32_t task = static_cast<uint32_t>(culprit);
  const Actor& actor = run.actors[task];
  const std::vector<Actor::Missing> missing = actor.WhatIsMissing();
  if (actor.spec().receives && IsInFlight(actor)) {
    stall.missing_peer = static_cast<int>(ChannelOf(run, task).source());
  } else if (actor.spec().sends &&
             (IsInFlight(actor) ||
              (missing.size() == 1 && missing[0].kind == Actor::Missing::kPeerPost))) {
    stall.missing_peer = static_cast<int>(ChannelOf(run, task).destination());
  }
  stall.text = absl::StrCat("  first by stamp: ", DescribeActor(run, task), "\n");
  for (uint32_t neighbour : NeighboursOf(run, task)) {
    absl::StrAppend(&stall.text, "  neighbour: ", DescribeActor(run, neighbour), "\n");
  }
  return stall;
}

std::string WaitForCycle(const std::vector<RunSnapshot>& ranks) {
  using Node = std::pair<size_t, uint32_t>;           // (rank, task)
  std::map<std::pair<std::string, bool>, Node> ends;  // (channel, is the sender)
  for (size_t r = 0; r < ranks.size(); ++r) {
    for (uint32_t t = 0; t < ranks[r].actors.size(); ++t) {
      const ActorSpec& spec = ranks[r].actors[t].spec();
      if (spec.sends || spec.receives) ends[{ChannelOf(ranks[r], t).name(), spec.sends}] = {r, t};
    }
  }
  enum class Mark { kNew, kOnPath, kOver };
  std::map<Node, Mark> marks;
  struct Hop {
    Node node;
    std::vector<std::pair<Node, std::string>> waits;
    size_t next = 0;
  };
  const auto enter = [&](const Node& node) {
    marks[node] = Mark::kOnPath;
    Hop hop{node, {}};
    const RunSnapshot& run = ranks[node.first];
    const bool sends = run.actors[node.second].spec().sends;
    for (const Wait& wait : WaitsOf(run, node.second)) {
      if (wait.task >= 0) {
        hop.waits.push_back({{node.first, static_cast<uint32_t>(wait.task)}, wait.text});
      } else if (const auto end = ends.find({wait.channel, !sends}); end != ends.end()) {
        hop.waits.push_back({end->second, wait.text});
      }
    }
    return hop;
  };
  for (size_t r = 0; r < ranks.size(); ++r) {
    for (uint32_t t = 0; t < ranks[r].actors.size(); ++t) {
      if (NextFiring(ranks[r], t).step >= ranks[r].launched || marks[{r, t}] != Mark::kNew)
        continue;
      std::vector<Hop> path = {enter({r, t})};
      while (!path.empty()) {
        Hop& hop = path.back();
        if (hop.next == hop.waits.size()) {
          marks[hop.node] = Mark::kOver;
          path.pop_back();
          continue;
        }
        const Node next = hop.waits[hop.next++].first;
        if (marks[next] == Mark::kNew) {
          path.push_back(enter(next));
        } else if (marks[next] == Mark::kOnPath) {
          std::string text;
          bool inside = false;
          for (const Hop& step : path) {
            inside |= step.node == next;
            if (!inside) continue;
            absl::StrAppend(&text, "  ", Where(ranks[step.node.first], step.node.second), " ",
                            step.waits[step.next - 1].second, "\n");
          }
          return text;
        }
      }
    }
  }
  return "";
}

}  // namespace oneflow
