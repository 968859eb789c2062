#include "bench/micro/core_driver.h"

#include <variant>

#include "base/check.h"

namespace zsched::micro {

using broker::Assign;
using broker::Effect;

CoreDriver::CoreDriver(uint32_t frame_tasks) : submit_(frame_tasks), results_(frame_tasks) {
  ZS_CHECK(core_.Start(Uuid{1, 2}, core_.NextEpoch(0), now_).ok());
  Greet();
  EndRound();
}

void CoreDriver::Greet() {
  flatbuffers::FlatBufferBuilder b;
  wire::Uuid id(1, 1);
  auto name = b.CreateString("micro");
  b.Finish(wire::CreateHello(b, &id, name));
  client_ = core_.OnHello(*flatbuffers::GetRoot<wire::Hello>(b.GetBufferPointer()), now_);
  b.Clear();
  name = b.CreateString("micro");
  wire::WorkerHelloBuilder hello(b);
  hello.add_id(&id);
  hello.add_name(name);
  b.Finish(hello.Finish());
  auto worker =
      core_.OnWorkerHello(*flatbuffers::GetRoot<wire::WorkerHello>(b.GetBufferPointer()), now_);
  ZS_CHECK(worker.ok());
  worker_ = *worker;
  b.Clear();
  b.Finish(wire::CreateCredit(b, kMaxCreditTasks, kMaxCreditBytes));
  core_.OnCredit(worker_, *flatbuffers::GetRoot<wire::Credit>(b.GetBufferPointer()));
}

void CoreDriver::Submit() {
  core_.OnSubmit(client_, submit_.submit(), submit_.bytes(), now_);
  submit_.Next();
}

void CoreDriver::EndRound() {
  core_.EndRound(now_);
  for (Effect& effect : core_.effects()) {
    if (auto* ack = std::get_if<broker::SubmitAckEffect>(&effect)) core_.OnSubmitAckSent(*ack);
    if (auto* tasks = std::get_if<broker::TasksEffect>(&effect)) tasks_ = std::move(*tasks);
  }
  core_.effects().clear();
  core_.TakeBatch(batch_);
}

void CoreDriver::Finish() {
  done_.clear();
  for (const Assign& task : tasks_.tasks)
    done_.emplace_back(task.task.value(), task.lease.value(), /*run_us=*/7);
  results_.Next(done_);
  core_.OnResults(worker_, results_.results(), now_);
}

}  // namespace zsched::micro
