#include "worker/server/pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <system_error>

#include "base/check.h"
#include "schemas/errors.h"
#include "schemas/verify.h"
#include "worker/server/attempt.h"

namespace zsched::worker {
namespace {

using Clock = std::chrono::steady_clock;

// When a busy handler thread tells the session thread that outcomes wait: after this many, or this
// long after the first, or after an attempt that was this long anyway. An idle one tells at once.
constexpr int kWakeOutcomes = 64;
constexpr auto kWakeAfter = std::chrono::microseconds(200);
constexpr auto kLongAttempt = std::chrono::microseconds(100);
constexpr size_t kCacheLine = 64;

int64_t MonoMs(Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

uint32_t RunUs(Clock::duration duration) {
  int64_t us = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  return static_cast<uint32_t>(std::clamp<int64_t>(us, 0, UINT32_MAX));
}

}  // namespace

Batch::Batch(std::string_view body, int64_t received_ms)
    : bytes_(std::make_unique_for_overwrite<uint64_t[]>((body.size() + 7) / 8)),
      received_ms_(received_ms) {
  std::memcpy(bytes_.get(), body.data(), body.size());
  tasks_ = flatbuffers::GetRoot<wire::Tasks>(bytes_.get());
  items_ = std::make_unique<Item[]>(tasks_->tasks()->size());
}

Batch::Item* Batch::Claim() {
  for (size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < size_;)
    if (!items_[i].taken.exchange(true, std::memory_order_acq_rel)) return &items_[i];
  return nullptr;
}

// What the threads share. They own it together with the pool, because an abandoned handler outlives
// the pool.
struct alignas(kCacheLine) Pool::Slot {
  CancelSignal signal;
  NoteBox notes;
  std::mutex mutex;
  std::vector<Ended> ended;      // under mutex
  std::vector<Note> last_notes;  // under mutex: of attempts that have ended
  std::vector<LeaseId> late;     // under mutex: not started, as it was too late

  // The thread's own.
  std::shared_ptr<Batch> batch;
  int untold = 0;  // outcomes since the session thread was last woken
  Clock::time_point first_untold;
  const TaskHandler* handler = nullptr;  // of the type `last_type`
  std::string last_type;
};

struct Pool::State {
  State(int concurrency, HandlerMap map, std::function<void()> wake_function)
      : handlers(std::move(map)),
        slots(static_cast<size_t>(concurrency)),
        wake(std::move(wake_function)) {}

  // Something was said: the session thread comes once, and then as often as it likes.
  void TellNote() {
    if (noted.exchange(true)) return;
    std::lock_guard lock(wake_mutex);
    if (wake) wake();
  }
  void Tell(Slot* slot) {
    slot->untold = 0;
    if (told.exchange(true)) return;
    std::lock_guard lock(wake_mutex);
    if (wake) wake();
  }
  bool MayStart(int64_t now_ms) const { return starts_until_ms.load() > now_ms; }
  void GiveBack(Slot* slot, LeaseId lease) {
    {
      std::lock_guard lock(slot->mutex);
      slot->late.push_back(lease);
    }
    any_late = true;
    Tell(slot);
  }
  Batch::Item* Next(Slot* slot, Clock::time_point* now);
  bool AwaitWork(Slot* slot, Clock::time_point* now);
  void Execute(Slot* slot, const wire::Assignment& task, Clock::time_point* now);
  const TaskHandler* HandlerFor(Slot* slot, const flatbuffers::String* type) const;

  const HandlerMap handlers;
  std::vector<Slot> slots;

  std::mutex mutex;
  std::condition_variable work;
  std::deque<std::shared_ptr<Batch>> queue;  // under mutex
  bool stopping = false;                     // under mutex
  size_t idle = 0;                           // threads in work.wait, under mutex
  int running_threads = 0;                   // under mutex
  std::condition_variable thread_ended;
  std::atomic<int64_t> starts_until_ms{0};
  std::atomic<int> paused{0};  // threads that wait because nothing may start

  std::atomic<bool> any_late{false};  // some slot has late leases: TakeLate need not look otherwise
  std::atomic<bool> told{false};      // the session thread was woken and has not looked yet
  std::atomic<bool> noted{false};     // somebody has said something, and it was not taken
  const std::function<void()> tell_note = [this] { TellNote(); };
  std::mutex wake_mutex;
  std::function<void()> wake;  // under wake_mutex; empty after Shutdown
};

// --- Handler threads ------------------------------------------------------------------------------

void Pool::Run(const std::shared_ptr<State>& state, Slot* slot) {
  Clock::time_point now = Clock::now();
  while (Batch::Item* item = state->Next(slot, &now)) state->Execute(slot, *item->task, &now);
  slot->batch.reset();
  std::lock_guard lock(state->mutex);
  --state->running_threads;
  state->thread_ended.notify_all();
}

Batch::Item* Pool::State::Next(Slot* slot, Clock::time_point* now) {
  while (true) {
    if (slot->batch != nullptr && MayStart(MonoMs(*now))) {
      Batch::Item* item = slot->batch->Claim();
      if (item != nullptr && !slot->batch->IsLate(*item->task, MonoMs(*now))) return item;
      if (item != nullptr) {
        GiveBack(slot, LeaseId(item->task->lease_id()));
        continue;
      }
      slot->batch.reset();
    }
    if (!AwaitWork(slot, now)) return nullptr;
  }
}

// Gives the slot a batch with work in it, waiting for one if need be; false: the pool ends.
bool Pool::State::AwaitWork(Slot* slot, Clock::time_point* now) {
  std::unique_lock lock(mutex);
  while (true) {
    while (!queue.empty() && queue.front()->exhausted()) queue.pop_front();
    if (stopping) return false;
    bool is_paused = false;
    if (!queue.empty()) {
      slot->batch = queue.front();
      ++paused;  // before the look at starts_until_ms: SetStartsUntil writes that, then looks at this
      is_paused = !MayStart(MonoMs(*now));
      if (!is_paused) {
        --paused;
        return true;
      }
    }
    if (slot->untold > 0) {
      if (is_paused) --paused;
      lock.unlock();
      Tell(slot);
      lock.lock();
    } else {
      ++idle;
      work.wait(lock);
      --idle;
      if (is_paused) --paused;
    }
    *now = Clock::now();
  }
}

const TaskHandler* Pool::State::HandlerFor(Slot* slot, const flatbuffers::String* type) const {
  std::string_view name = TextOf(type);
  if (slot->handler != nullptr && slot->last_type == name) return slot->handler;
  auto it = handlers.find(std::string(name));
  if (it == handlers.end()) return nullptr;
  slot->last_type = name;
  return slot->handler = &it->second;
}

void Pool::State::Execute(Slot* slot, const wire::Assignment& task, Clock::time_point* now) {
  const Clock::time_point started = *now;
  LeaseId lease(task.lease_id());
  slot->signal.Begin(lease, MonoMs(started));
  slot->notes.Begin(TaskId(task.task_id()), lease);
  std::unique_ptr<Outcome> outcome = RunAttempt(task, HandlerFor(slot, task.type()), started,
                                                &slot->signal, &slot->notes, tell_note);
  std::optional<Note> note = slot->notes.Take();
  *now = Clock::now();
  {
    std::lock_guard lock(slot->mutex);
    if (note) {
      slot->last_notes.push_back(*std::move(note));
      noted.store(true);  // it may have been taken from under a look that did not find it yet
    }
    slot->ended.push_back({lease, RunUs(*now - started), std::move(outcome)});
  }
  slot->signal.End();
  if (slot->untold++ == 0) slot->first_untold = *now;
  if (slot->untold >= kWakeOutcomes || *now - started >= kLongAttempt ||
      *now - slot->first_untold >= kWakeAfter)
    Tell(slot);
}

// --- Session thread -------------------------------------------------------------------------------

Pool::Pool(int concurrency, HandlerMap handlers, std::function<void()> wake)
    : state_(std::make_shared<State>(concurrency, std::move(handlers), std::move(wake))) {}

Pool::~Pool() { Shutdown(0); }

absl::Status Pool::Start() {
  // Signals are for the program's own thread; a handler's system calls are not interrupted by them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  absl::Status status;
  try {
    for (Slot& slot : state_->slots) {
      {
        std::lock_guard lock(state_->mutex);
        ++state_->running_threads;
      }
      threads_.emplace_back([state = state_, &slot] {
        pthread_setname_np(pthread_self(), "zsched-slot");
        Run(state, &slot);
      });
    }
  } catch (const std::system_error& error) {
    std::lock_guard lock(state_->mutex);
    --state_->running_threads;
    status = Error(ErrorCode::kResourceExhausted,
                   "cannot start handler thread " + std::to_string(threads_.size() + 1) + " of " +
                       std::to_string(state_->slots.size()) + ": " + error.what());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return status;
}

void Pool::Push(std::shared_ptr<Batch> batch) {
  size_t tasks = batch->size();
  if (tasks == 0) return;
  bool all;
  {
    std::lock_guard lock(state_->mutex);
    state_->queue.push_back(std::move(batch));
    if (state_->idle == 0) return;
    all = tasks >= state_->idle;
  }
  if (all) {
    state_->work.notify_all();
  } else {
    for (size_t i = 0; i < tasks; ++i) state_->work.notify_one();
  }
}

void Pool::SetStartsUntil(int64_t mono_ms) {
  state_->starts_until_ms.store(mono_ms);
  if (state_->paused.load() == 0) return;
  std::lock_guard lock(state_->mutex);
  state_->work.notify_all();
}

bool Pool::has_notes() const { return state_->noted.load(); }

std::vector<Note> Pool::TakeNotes() {
  std::vector<Note> notes;
  if (!state_->noted.exchange(false)) return notes;
  for (Slot& slot : state_->slots) {
    {
      std::lock_guard lock(slot.mutex);
      std::move(slot.last_notes.begin(), slot.last_notes.end(), std::back_inserter(notes));
      slot.last_notes.clear();
    }
    if (std::optional<Note> note = slot.notes.Take()) notes.push_back(*std::move(note));
  }
  return notes;
}

void Pool::TakeEnded(std::vector<Ended>* out) {
  state_->told.store(false);
  size_t before = out->size();
  for (Slot& slot : state_->slots) {
    std::lock_guard lock(slot.mutex);
    if (slot.ended.empty()) continue;
    if (out->empty()) {
      out->swap(slot.ended);
    } else {
      std::move(slot.ended.begin(), slot.ended.end(), std::back_inserter(*out));
      slot.ended.clear();
    }
  }
  if (!cancel_later_.empty())
    for (size_t i = before; i < out->size(); ++i) cancel_later_.erase((*out)[i].lease);
}

void Pool::ObserveRunning(std::vector<RunningAttempt>* out) {
  for (Slot& slot : state_->slots) {
    RunningAttempt running;
    running.lease = slot.signal.Running(&running.started_ms);
    if (!running.lease) continue;
    if (auto later = cancel_later_.find(running.lease);
        later != cancel_later_.end() && slot.signal.Request(running.lease, later->second))
      cancel_later_.erase(later);
    out->push_back(running);
  }
}

std::vector<LeaseId> Pool::TakeLate() {
  std::vector<LeaseId> late;
  if (!state_->any_late.load(std::memory_order_relaxed)) return late;
  state_->any_late = false;  // before the look: what comes after it is told again
  for (Slot& slot : state_->slots) {
    std::lock_guard lock(slot.mutex);
    late.insert(late.end(), slot.late.begin(), slot.late.end());
    slot.late.clear();
  }
  for (LeaseId lease : late) cancel_later_.erase(lease);
  return late;
}

std::vector<LeaseId> Pool::Withdraw(size_t count) {
  std::vector<LeaseId> withdrawn;
  std::lock_guard lock(state_->mutex);
  for (size_t b = state_->queue.size(); b-- > 0 && withdrawn.size() < count;) {
    Batch& batch = *state_->queue[b];
    size_t i = batch.size();
    while (i-- > 0 && withdrawn.size() < count)
      if (!batch.item(i).taken.exchange(true))
        withdrawn.emplace_back(batch.item(i).task->lease_id());
    // Emptied from its end to its beginning: nothing of it will run, so its bytes can go.
    if (i == SIZE_MAX && b + 1 == state_->queue.size()) state_->queue.pop_back();
  }
  return withdrawn;
}

std::vector<LeaseId> Pool::TakeBack(std::span<const LeaseId> leases) {
  const absl::flat_hash_set<LeaseId> wanted(leases.begin(), leases.end());
  std::vector<LeaseId> withdrawn;
  std::lock_guard lock(state_->mutex);
  for (const auto& batch : state_->queue)
    for (size_t i = 0; i < batch->size(); ++i) {
      Batch::Item& item = batch->item(i);
      const LeaseId lease(item.task->lease_id());
      if (wanted.contains(lease) && !item.taken.exchange(true)) withdrawn.push_back(lease);
    }
  return withdrawn;
}

std::vector<LeaseId> Pool::Cancel(std::span<const CancelOrder> orders) {
  if (orders.empty()) return {};
  std::vector<LeaseId> leases;
  absl::flat_hash_map<LeaseId, ErrorCode> wanted;
  for (const CancelOrder& order : orders) {
    leases.push_back(order.lease);
    wanted.emplace(order.lease, order.why);
  }
  std::vector<LeaseId> withdrawn = TakeBack(leases);
  for (LeaseId lease : withdrawn) wanted.erase(lease);
  for (Slot& slot : state_->slots) {
    int64_t started_ms;
    LeaseId lease = slot.signal.Running(&started_ms);
    if (auto it = wanted.find(lease); it != wanted.end() && slot.signal.Request(lease, it->second))
      wanted.erase(it);
  }
  // Ended already, or claimed and just about to start.
  cancel_later_.insert(wanted.begin(), wanted.end());
  return withdrawn;
}

int Pool::Shutdown(int64_t wait_ms) {
  if (threads_.empty()) return 0;
  int left;
  state_->starts_until_ms.store(0);
  {
    std::unique_lock lock(state_->mutex);
    state_->stopping = true;
    state_->work.notify_all();
    state_->thread_ended.wait_for(lock, std::chrono::milliseconds(wait_ms),
                                  [this] { return state_->running_threads == 0; });
    left = state_->running_threads;
  }
  {
    std::lock_guard lock(state_->wake_mutex);
    state_->wake = nullptr;
  }
  for (std::thread& thread : threads_) {
    if (left == 0) {
      thread.join();
    } else {
      thread.detach();
    }
  }
  threads_.clear();
  return left;
}

}  // namespace zsched::worker
