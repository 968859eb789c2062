// Clients come, wait for tasks, are told, and go.
#include <algorithm>

#include "base/planted.h"
#include "broker/core/core.h"
#include "broker/core/record_writer.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

// Sessions that watch a task beside its first watcher, over all tasks: bounds their memory to some
// 32 MB.
constexpr size_t kMaxMoreWatchers = 1'000'000;

}  // namespace

SessionId Core::OnHello(const wire::Hello& hello, Now now) {
  Uuid id;
  if (hello.id() != nullptr) id = Uuid{hello.id()->hi(), hello.id()->lo()};
  // A client that reconnects: the newer session takes over.
  if (auto old = client_by_id_.find(id); old != client_by_id_.end())
    CloseClient(old->second, /*echo=*/false);
  if (client_count_ >= config_.max_clients) return SessionId(0);
  uint32_t slot;
  if (free_clients_.empty()) {
    slot = static_cast<uint32_t>(clients_.size());
    clients_.emplace_back();
  } else {
    slot = free_clients_.back();
    free_clients_.pop_back();
    clients_[slot] = ClientSession{};
  }
  ClientSession& client = clients_[slot];
  client.id = NewSessionId();
  client.client = id;
  if (id) client_by_id_[id] = slot;
  client.name = std::string(TextOf(hello.name()).substr(0, kMaxNameBytes));
  client.seen_ms = now.mono_ms;
  sessions_[client.id.value()] = {slot, false};
  ++client_count_;
  metrics_.Add(Metric::kSessionsOpened);
  effects_.push_back(WelcomeEffect{client.id, Lsn(0)});
  return client.id;
}

void Core::OnClientGoodbye(SessionId from, Now now) {
  ClientSession* client = FindClient(from);
  if (client == nullptr) return;
  // A client that leaves with everything acknowledged will not ask about its submits again.
  Producer* producer = state_.FindProducer(client->client);
  constexpr uint64_t kDepartedShare = 2;  // of all; the others are for clients that are there
  const bool keep =
      config_.keep_departed && state_.producers().size() < config_.max_producers / kDepartedShare;
  if (producer != nullptr && client->unacked_frames == 0 && !keep) {
    IdsRecord record{1};
    OpenedRecord opened = OpenRecord(RecordKind::kProducersGone, record);
    AppendStruct(batch_.OpenRecord(), producer->number);
    state_.ProducerGone(batch_, producer->number);
    CloseRecord(opened, record, now);
  }
  CloseClient(sessions_.at(from.value()).slot, /*echo=*/true);
}

void Core::CloseClient(uint32_t slot, bool echo) {
  ClientSession& client = clients_[slot];
  effects_.push_back(ClosedEffect{client.id, Lsn(0), echo});
  sessions_.erase(client.id.value());
  client_by_id_.erase(client.client);
  std::erase(told_clients_, slot);
  client = ClientSession{};  // its watches end with it: the counter they hold is never used again
  free_clients_.push_back(slot);
  --client_count_;
}

void Core::Watch(Task& task, uint32_t watcher) {
  if (task.watcher == watcher) return;
  bool free = task.watcher == 0 ||
              !sessions_.contains(MakeId<SessionId>(state_.epoch(), task.watcher).value());
  if (free) {
    task.watcher = watcher;
    return;
  }
  std::vector<uint32_t>& more = more_watchers_[task.id];
  if (std::find(more.begin(), more.end(), watcher) != more.end()) return;
  more.push_back(watcher);
  ++more_watchers_count_;
  task.more_watchers = 1;
}

template <class Ids>
std::vector<uint64_t> Core::WatchAll(SessionId from, uint64_t request, const Ids& ids) {
  std::vector<uint64_t> over;
  if (FindClient(from) == nullptr) return over;
  if (more_watchers_count_ + ids.size() > kMaxMoreWatchers) {
    effects_.push_back(ErrorEffect{from, Lsn(0), ErrorCode::kResourceExhausted,
                                   "too many sessions wait for the same tasks; poll with GET",
                                   request});
    return over;
  }
  auto watcher = static_cast<uint32_t>(CounterOf(from));
  for (uint64_t id : ids) {
    uint32_t slot = state_.tasks().Find(TaskId(id));
    if (slot == kNil)
      over.push_back(id);
    else
      Watch(state_.tasks()[slot], watcher);
  }
  return over;
}

std::vector<uint64_t> Core::OnWait(SessionId from, const wire::Wait& wait) {
  return WatchAll(from, wait.request(), *wait.ids());
}

std::vector<uint64_t> Core::OnWaitAgain(SessionId from, uint64_t request,
                                        const std::vector<uint64_t>& ids) {
  return WatchAll(from, request, ids);
}

void Core::Tell(uint32_t watcher, const OutcomeItem& item) {
  auto it = sessions_.find(MakeId<SessionId>(state_.epoch(), watcher).value());
  if (it == sessions_.end() || it->second.worker) return;
  ClientSession& client = clients_[it->second.slot];
  if (item.state == TaskState::kSucceeded && item.size == 0)
    client.succeeded.push_back(item.task.value());
  else
    client.items.push_back(item);
  if (client.listed) return;
  client.listed = true;
  told_clients_.push_back(it->second.slot);
}

// Called before the task leaves the index. `offset`, `size`: its outcome row in the open batch.
void Core::Notify(const Task& task, TaskState state, uint32_t offset, uint32_t size) {
  if (task.watcher == 0) return;
  OutcomeItem item{TaskId(task.id), state, task.attempt, offset, size};
  Tell(task.watcher, item);
  if (ZS_PLANTED("one-watcher-told")) return;
  if (!task.more_watchers) return;
  auto it = more_watchers_.find(task.id);
  for (uint32_t watcher : it->second) Tell(watcher, item);
  more_watchers_count_ -= it->second.size();
  more_watchers_.erase(it);
}

void Core::FlushOutcomes() {
  for (uint32_t slot : told_clients_) {
    ClientSession& client = clients_[slot];
    client.listed = false;
    Lsn wait = appended();
    // Results are read from the batch that holds their rows: only what has none can go early.
    if (ZS_PLANTED("outcomes-early") && client.items.empty()) wait = Lsn(0);
    effects_.push_back(
        OutcomesEffect{client.id, wait, std::move(client.succeeded), std::move(client.items)});
    client.succeeded.clear();
    client.items.clear();
  }
  told_clients_.clear();
}

void Core::OnPushDropped(SessionId id) {
  if (ZS_PLANTED("no-resync")) return;
  if (ClientSession* client = FindClient(id)) client->resync = true;
  metrics_.Add(Metric::kPushesDropped);
}

void Core::OnHeartbeat(SessionId from, const wire::Heartbeat* heartbeat, Now now) {
  if (ClientSession* client = FindClient(from)) {
    effects_.push_back(HeartbeatAckEffect{from, Lsn(0), std::exchange(client->resync, false)});
    return;
  }
  WorkerSession* session = FindWorkerSession(from);
  if (session == nullptr) return;
  // A worker that grants nothing may be about to leave, and takes the ack as the end of what is on
  // its way to it: the ack must not overtake tasks that wait in the commit gate.
  Lsn wait = session->grant_tasks == 0 ? appended() : Lsn(0);
  if (ZS_PLANTED("ack-overtakes-tasks")) wait = Lsn(0);
  effects_.push_back(HeartbeatAckEffect{from, wait, false});
  if (heartbeat == nullptr) return;
  session->running = heartbeat->running();
  if (ZS_PLANTED("overdue-not-ended")) return;
  if (heartbeat->started() == nullptr) return;
  size_t reports = std::min<size_t>(heartbeat->started()->size(), kMaxStartedReports);
  for (size_t i = 0; i < reports; ++i) {
    const wire::LeaseRef* started = heartbeat->started()->Get(static_cast<uint32_t>(i));
    uint32_t slot = FindLeased(started->task_id(), started->lease_id(), session->worker);
    if (slot == kNil) continue;
    const Task& task = state_.tasks()[slot];
    Lease& lease = state_.LeaseOf(task);
    if (lease.timed) continue;
    lease.deadline_ms = now.mono_ms + task.timeout_ms + kTimeoutGraceMs;
    lease.timed = true;
    deadlines_.Add(task.lease);
  }
}

}  // namespace zsched::broker
