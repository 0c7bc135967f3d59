// Small plans that stand for the shapes that real ones take, all of them correct: a training step
// on one device, a pipeline with micro-batches, a ring between devices, and a transfer between
// ranks.
//
// Functions that build values. Threads: any. Read next: plan/plan_builder_for_test.h,
// plan/verify_test.cc.
#ifndef ONEFLOW_PLAN_PLANS_FOR_TEST_H_
#define ONEFLOW_PLAN_PLANS_FOR_TEST_H_

#include <utility>

#include "plan/plan_builder_for_test.h"

namespace oneflow {

// One device: feed -> matmul -> relu -> loss -> backward -> update of the weight, with a fetched
// loss. The outputs of relu and loss_grad share bytes; relu is in place of matmul's output.
struct TrainingStep {
  PlanBuilder builder{1};
  uint32_t feed, matmul, relu, loss, loss_grad, weight_grad, update, fetch;  // tasks
  uint32_t x, h, y, l, dy, dw;                                               // registers
  uint32_t weight;                                                           // state

  TrainingStep() {
    const uint32_t feeds = builder.Stream("feed");
    const uint32_t compute = builder.Stream("compute");
    const uint32_t fetches = builder.Stream("fetch");
    builder.Input("batch", {4, 4});
    builder.Output("loss", {4, 4});
    weight = builder.State("w", {4, 4});
    feed = builder.Task("feed.0", feeds, {.kind = plan::FEED});
    matmul = builder.Task("matmul.1", compute, {.rule = "m k, k n -> m n ; sum k ; multilinear"});
    relu = builder.Task("relu.2", compute, {.rule = "... -> ..."});
    loss = builder.Task("loss.3", compute);
    loss_grad = builder.Task("loss_grad.4", compute);
    weight_grad = builder.Task("weight_grad.5", compute);
    update = builder.Task("sgd_update.6", compute);
    fetch = builder.Task("fetch.7", fetches, {.kind = plan::FETCH});
    x = builder.Register(feed, {matmul, weight_grad}, {.slots = 2});
    builder.ReadState(matmul, weight);
    h = builder.Register(matmul, {relu});
    y = builder.Register(relu, {loss, loss_grad}, {.in_place_of = static_cast<int>(h)});
    l = builder.Register(loss, {fetch});
    dy = builder.Register(loss_grad, {weight_grad});
    dw = builder.Register(weight_grad, {update});
    builder.ReadState(update, weight);
    builder.WriteState(update, weight);
  }
  plan::Plan Build() { return builder.Build(); }
};

// Two stages in one process, four micro-batches, 1F1B: the stash of stage 0 needs two slots.
// Gradients are summed over micro-batches and update each stage's weight.
struct Pipeline {
  PlanBuilder builder;
  uint32_t feed, forward0, send, forward1, backward1, back, backward0, sum0, sum1, update0, update1;
  uint32_t stash;  // the register of two slots that backward0 reads

  explicit Pipeline(uint32_t micro_batches = 4) : builder(micro_batches, 2) {
    builder.UseStages();
    const uint32_t last = 2 * micro_batches + 5;
    const uint32_t feeds = builder.Stream("feed", 0);
    const uint32_t compute0 = builder.Stream("compute", 0);
    const uint32_t comm0 = builder.Stream("comm", 0);
    const uint32_t compute1 = builder.Stream("compute", 1);
    const uint32_t comm1 = builder.Stream("comm", 1);
    builder.Input("batch", {4, 4});
    const uint32_t w0 = builder.State("w0", {4, 4}, 0);
    const uint32_t w1 = builder.State("w1", {4, 4}, 1);
    const auto micro = [](plan::TaskKind kind, uint32_t slot) {
      return TaskSpec{.kind = kind, .level = plan::MICRO, .slot = slot, .slot_per_micro = 2};
    };
    feed = builder.Task("feed.0", feeds, micro(plan::FEED, 1));
    forward0 = builder.Task("forward.1", compute0, micro(plan::COMPUTE, 1));
    send = builder.Task("pack.2", comm0, micro(plan::MOVE, 1));
    forward1 = builder.Task("forward.3", compute1, micro(plan::COMPUTE, 2));
    backward1 = builder.Task("backward.4", compute1, micro(plan::COMPUTE, 3));
    sum1 = builder.Task("accumulate.5", compute1, micro(plan::MOVE, 3));
    back = builder.Task("pack.6", comm1, micro(plan::MOVE, 3));
    backward0 = builder.Task("backward.7", compute0, micro(plan::COMPUTE, 4));
    sum0 = builder.Task("accumulate.8", compute0, micro(plan::MOVE, 4));
    update1 = builder.Task("sgd_update.9", compute1, {.slot = last});
    update0 = builder.Task("sgd_update.10", compute0, {.slot = last});
    const RegisterSpec one{.level = plan::MICRO};
    const RegisterSpec two{.level = plan::MICRO, .slots = 2};
    builder.Register(feed, {forward0}, two);
    stash = builder.Register(forward0, {send, backward0}, two);
    builder.Register(send, {forward1}, {.level = plan::MICRO, .slots = 2, .device = 1});
    builder.Register(forward1, {backward1}, one);
    const uint32_t d1 = builder.Register(backward1, {back, sum1}, two);
    const uint32_t moved =
        builder.Register(back, {backward0}, {.level = plan::MICRO, .slots = 2, .device = 0});
    const uint32_t d0 = builder.Register(backward0, {sum0}, one);
    const uint32_t g0 = builder.Register(sum0, {update0});
    const uint32_t g1 = builder.Register(sum1, {update1});
    (void)g0, (void)g1;
    builder.PackAll(send, {4, 4});
    builder.PackAll(back, {4, 4});
    // Each micro-batch has its contribution to the gradients.
    builder.MakePartial(backward1, d1, 0);
    builder.MakePartial(backward0, moved, 0);
    builder.MakePartial(backward0, d0, 0);
    for (const uint32_t sum : {sum0, sum1}) builder.SetAttrs(sum, {{"mode", std::string("sum")}});
    for (const auto& [task, state] :
         {std::pair{forward0, w0}, {forward1, w1}, {update0, w0}, {update1, w1}}) {
      builder.ReadState(task, state);
    }
    builder.WriteState(update0, w0);
    builder.WriteState(update1, w1);
  }
  plan::Plan Build() { return builder.Build(); }
};

// All-reduce of a gradient between two devices of one process, as a ring on the chunk loop, then an
// update.
struct Ring {
  PlanBuilder builder{1, 2};
  uint32_t grad[2], stage[2], send[2], reduce[2], update[2];  // tasks by device
  uint32_t buffer[2], link[2], result[2];  // registers; link[d] is received by device d

  explicit Ring(uint32_t collectives = 1) {
    const uint32_t compute[2] = {builder.Stream("compute", 0), builder.Stream("compute", 1)};
    const uint32_t comm[2] = {builder.Stream("comm", 0), builder.Stream("comm", 1)};
    for (uint32_t i = 0; i < collectives; ++i) Add(compute, comm, i);
  }
  plan::Plan Build() { return builder.Build(); }

 private:
  void Add(const uint32_t (&compute)[2], const uint32_t (&comm)[2], uint32_t number) {
    const int base = static_cast<int>(10 * number);
    const uint32_t weight = builder.State("w" + std::to_string(number), {16});
    const auto name = [&](const char* op, uint32_t d) {
      return std::string(op) + "." + std::to_string(number) + "@" + std::to_string(d);
    };
    const RegisterSpec flat{.shape = {16}};
    for (uint32_t d = 0; d < 2; ++d) {
      grad[d] = builder.Task(name("grad", d), compute[d], {.position = base});
      builder.ReadState(grad[d], weight);
      stage[d] =
          builder.Task(name("assemble", d), comm[d], {.kind = plan::MOVE, .position = base + 1});
      send[d] = builder.Task(
          name("ring_send", d), comm[d],
          {.kind = plan::MOVE, .level = plan::CHUNK, .chunks = 2, .position = base + 1, .sub = 1});
      reduce[d] = builder.Task(
          name("ring_reduce", d), comm[d],
          {.kind = plan::MOVE, .level = plan::CHUNK, .chunks = 2, .position = base + 1, .sub = 4});
      update[d] = builder.Task(name("sgd_update", d), compute[d], {.position = base + 2});
      for (const uint32_t task : {stage[d], send[d], reduce[d]}) {
        builder.plan().mutable_tasks(static_cast<int>(task))->set_reshard("P->B on dp");
      }
      const uint32_t g = builder.Register(grad[d], {stage[d]}, flat);
      builder.MakePartial(grad[d], g, 1);
      buffer[d] = builder.Register(stage[d], {send[d], reduce[d]}, flat);
      const std::vector<int64_t> zero = {0};
      builder.SetAttrs(stage[d], {{"rank", int64_t{1}},
                                  {"zero", false},
                                  {"src_begin", zero},
                                  {"dst_begin", zero},
                                  {"extent", Shape{16}},
                                  {"piece_input", zero},
                                  {"piece_mode", std::vector<std::string>{"copy"}}});
      Attrs ring = {{"dim", int64_t{0}},
                    {"units", int64_t{16}},
                    {"parts", int64_t{2}},
                    {"base", int64_t{d == 0 ? 1 : 0}}};
      builder.SetAttrs(send[d], ring);
      ring.Set("reduce_chunks", int64_t{1});
      ring.Set("mode", std::string("sum"));
      builder.SetAttrs(reduce[d], ring);
    }
    for (uint32_t d = 0; d < 2; ++d) {
      link[1 - d] = builder.Register(
          send[d], {reduce[1 - d]},
          {.level = plan::CHUNK, .slots = 2, .shape = {8}, .device = static_cast<int>(1 - d)});
    }
    for (uint32_t d = 0; d < 2; ++d) {
      result[d] = builder.Register(reduce[d], {update[d]},
                                   {.shape = {16}, .in_place_of = static_cast<int>(buffer[d])});
      builder.After(send[d], reduce[d], plan::CHUNK, 1);
      builder.ReadState(update[d], weight);
      builder.WriteState(update[d], weight);
    }
  }
};

// A value that rank 0 sends to rank 1 in every micro-batch.
inline std::pair<plan::Plan, plan::Plan> Transfer(uint32_t slots = 2, uint32_t micro_batches = 3) {
  const auto micro = [](plan::TaskKind kind, uint32_t sub) {
    return TaskSpec{.kind = kind,
                    .level = plan::MICRO,
                    .slot = 1,
                    .slot_per_micro = 2,
                    .position = 5,
                    .sub = sub};
  };
  const RegisterSpec value{.level = plan::MICRO, .slots = slots};
  PlanBuilder sender(micro_batches, 1);
  {
    const uint32_t compute = sender.Stream("compute");
    const uint32_t comm = sender.Stream("comm");
    const uint32_t make = sender.Task("make.0", compute, micro(plan::COMPUTE, 0));
    const uint32_t send = sender.Task("send.1", comm, micro(plan::SEND, 2));
    sender.Register(make, {send}, value);
    sender.Channel(send, "reshard.1/0>1", 0, 1, 64, slots, 2);
  }
  PlanBuilder receiver(micro_batches, 1);
  {
    const uint32_t compute = receiver.Stream("compute");
    const uint32_t recv_stream = receiver.Stream("recv");
    const uint32_t recv = receiver.Task("recv.1", recv_stream, micro(plan::RECV, 3));
    const uint32_t use = receiver.Task("use.2", compute, micro(plan::COMPUTE, 4));
    const uint32_t out = receiver.Register(recv, {use}, value);
    (void)out;
    receiver.Register(use, {}, {.level = plan::MICRO});
    receiver.Channel(recv, "reshard.1/0>1", 0, 1, 64, slots, 2);
  }
  for (PlanBuilder* builder : {&sender, &receiver}) builder->plan().set_world_size(2);
  receiver.plan().set_rank(1);
  return {sender.Build(), receiver.Build()};
}

}  // namespace oneflow

#endif  // ONEFLOW_PLAN_PLANS_FOR_TEST_H_
