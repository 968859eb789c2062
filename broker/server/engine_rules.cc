// Frames about rules of queues and types, and about time schedules: read here, judged by the core.
#include "broker/server/engine.h"
#include "schemas/verify.h"

namespace zsched::broker {

bool Engine::OnQueueFrame(SessionId from, const FrameView& frame, Now now) {
  if (frame.header.type == MessageType::kQueueSet) {
    const auto* set = VerifyBody<wire::QueueSet>(frame.body);
    if (set != nullptr) core_.OnQueueSet(from, *set, now);
    return set != nullptr;
  }
  const auto* list = VerifyBody<wire::QueueList>(frame.body);
  if (list == nullptr) return false;
  Send(from, MessageType::kQueueInfos,
       encoder_.Queues(list->request(), core_, core_.QueueAges(now),
                       {.only = TextOf(list->queue()),
                        .after = TextOf(list->cursor()),
                        .limit = list->limit()}));
  return true;
}

bool Engine::OnTypeFrame(SessionId from, const FrameView& frame, Now now) {
  if (frame.header.type == MessageType::kTypeSet) {
    const auto* set = VerifyBody<wire::TypeSet>(frame.body);
    if (set != nullptr) core_.OnTypeSet(from, *set, now);
    return set != nullptr;
  }
  const auto* list = VerifyBody<wire::TypeList>(frame.body);
  if (list == nullptr) return false;
  Send(
      from, MessageType::kTypeInfos,
      encoder_.Types(
          list->request(), core_,
          {.only = TextOf(list->type()), .after = TextOf(list->cursor()), .limit = list->limit()}));
  return true;
}

bool Engine::OnScheduleFrame(SessionId from, const FrameView& frame, Now now) {
  switch (frame.header.type) {
    case MessageType::kScheduleSet: {
      const auto* set = VerifyBody<wire::ScheduleSet>(frame.body);
      if (set != nullptr) core_.OnScheduleSet(from, *set, frame.body, now);
      return set != nullptr;
    }
    case MessageType::kSchedulePause: {
      const auto* pause = VerifyBody<wire::SchedulePause>(frame.body);
      if (pause != nullptr) core_.OnSchedulePause(from, *pause, now);
      return pause != nullptr;
    }
    case MessageType::kScheduleRun: {
      const auto* run = VerifyBody<wire::ScheduleRun>(frame.body);
      if (run != nullptr) core_.OnScheduleRun(from, *run, now);
      return run != nullptr;
    }
    case MessageType::kScheduleRemove: {
      const auto* remove = VerifyBody<wire::ScheduleRemove>(frame.body);
      if (remove != nullptr) core_.OnScheduleRemove(from, *remove, now);
      return remove != nullptr;
    }
    default: {
      const auto* list = VerifyBody<wire::ScheduleList>(frame.body);
      if (list == nullptr) return false;
      Send(from, MessageType::kScheduleInfos,
           encoder_.Schedules(list->request(), core_,
                              {.only = TextOf(list->name()),
                               .after = TextOf(list->cursor()),
                               .limit = list->limit()}));
      return true;
    }
  }
}

}  // namespace zsched::broker
