// The client of a zsched cluster: submits tasks, follows them to their outcome, asks the broker
// what it has. Owned by the client library; this header and types.h are its public face, and
// include neither ZeroMQ nor FlatBuffers.
//
// Example:
//   #include <zsched/client.h>
//
//   absl::Status Run() {
//     auto client = zsched::Client::Create({.brokers = "127.0.0.1:5570"});
//     if (!client.ok()) return client.status();
//     auto id = (*client)->Submit({.type = "echo", .payload = "hello"}).get();
//     if (!id.ok()) return id.status();
//     auto outcome = (*client)->Wait(*id, 10'000);
//     if (!outcome.ok()) return outcome.status();
//     return outcome->status();                        // the task's own error, if it failed
//   }
//
// What it promises: a submit that was acknowledged is as durable as the task asked. Whatever was
// not acknowledged is sent again after a reconnect under the same identity, so that a task is
// created once, however often the connection or the broker goes down. The broker is found again by
// itself; calls made meanwhile wait.
//
// Speed: submits of all threads are combined into frames. When the line is idle a single task
// leaves at once; under load frames fill up by themselves. For bulk use SubmitBatch with a callback
// and ClientOptions::on_outcomes: neither needs memory per task.
//
// Threads: every method may be called from any thread. All callbacks run on the client's one
// background thread: they must not block, and must not call a method that waits (Wait, Get, List…,
// Retry, Status, Workers, DrainWorker, WaitForBroker, Close: these answer CONFLICT there; a Submit
// there never blocks, it answers RESOURCE_EXHAUSTED). A callback may destroy what it captured, but
// not the client; it must not throw, and what it refers to must live until Close has returned.
//
// Errors: absl::Status with a code of schemas/errors.h (CodeOf). UNAVAILABLE: there was no broker
// in time, and for a submit that the client was closed before it was acknowledged: it may or may
// not exist. TIMED_OUT: the broker did not answer in time. INVALID_ARGUMENT and TOO_LARGE: change
// the request. RESOURCE_EXHAUSTED: later.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsched/types.h"

namespace zsched {

// A timeout that never comes.
inline constexpr int64_t kForever = -1;

// Of one task: its id, or why there is none.
using AckCallback = absl::AnyInvocable<void(absl::StatusOr<TaskId>)>;
using BatchCallback = absl::AnyInvocable<void(BatchAck)>;
// The outcome lives until the call returns; move from it to keep it.
using OutcomeCallback = absl::AnyInvocable<void(Outcome&)>;

struct ClientOptions {
  std::string brokers = "127.0.0.1:5570";  // HOST:PORT[,HOST:PORT…], base addresses
  std::string name{};                      // what people see in status; empty: "PROGRAM@HOST"

  // It only asks, and takes what the first broker of the list that answers knows, active or not: a standby may be a moment
  // behind. What would change something, or wait, is refused with PERMISSION_DENIED, but for Switchover and Promote.
  bool observe = false;

  // Tasks and bytes of them that may wait here for the broker (not counting what it was sent); a
  // Submit beyond it blocks.
  size_t max_queued_tasks = 65'536;
  size_t max_queued_bytes = size_t{64} << 20;
  // How long a Submit may block for room: kForever, or 0 to be told RESOURCE_EXHAUSTED at once.
  int64_t submit_block_ms = kForever;
  // Tasks that the broker refuses with RESOURCE_EXHAUSTED (a full queue, a full disk) are submitted
  // again after the time it names, until they are accepted. False: the caller is told.
  bool retry_exhausted = true;
  // For the answer to any request except waiting for outcomes; connecting included.
  int64_t request_timeout_ms = 10'000;
  // A SUBMIT without an ack for this long is sent again on the same session (it creates nothing
  // twice): covers an ack that a full socket lost.
  int64_t resend_ms = 10'000;

  // Outcomes of tasks submitted with SubmitOptions::notify and no callback of their own, many at
  // once. They live until the call returns. An outcome may come before the ack of its task was
  // delivered to another callback, and after a reconnect never twice.
  std::function<void(std::span<Outcome>)> on_outcomes{};
  // The session came up (OK), or went down or an attempt to connect failed (why).
  std::function<void(const absl::Status&)> on_connection{};
};

struct SubmitOptions {
  // Have the outcome pushed to ClientOptions::on_outcomes. Set by itself for a submit with an
  // outcome callback.
  bool notify = false;
  // As ClientOptions::submit_block_ms, for this call; -2: as the options say.
  int64_t block_ms = -2;
};

struct ClientStats {
  uint64_t submitted = 0;     // tasks taken by Submit and SubmitBatch
  uint64_t acknowledged = 0;  // tasks answered, accepted or not
  uint64_t rejected = 0;      // of these, not accepted
  uint64_t retried = 0;       // tasks submitted again after RESOURCE_EXHAUSTED
  uint64_t frames = 0;        // SUBMIT frames made
  uint64_t resent_frames = 0;
  uint64_t outcomes = 0;   // delivered
  uint64_t connects = 0;   // sessions opened
  uint64_t malformed = 0;  // frames from the broker that could not be read
  SessionId session{};     // with the broker; 0: there is none
};

// How a RetryDead or PurgeDead goes about it.
struct DeadJob {
  // At most so many tasks in a million seconds, a tenth of a second's worth of them at once; 0: as fast
  // as it goes. 2'000'000 is two a second.
  uint64_t rate_micro = 0;
  // Called on the caller's thread after each batch and, while the rate makes it wait, ten times a second.
  // False: stop here.
  std::function<bool(const DeadProgress&)> go_on{};
};

class TaskLister;

class Client {
 public:
  // Starts the background thread, which connects by itself; does not wait for a broker.
  // INVALID_ARGUMENT names what is wrong with the options; UNAVAILABLE when the system gives no
  // socket or thread.
  static absl::StatusOr<std::unique_ptr<Client>> Create(ClientOptions options);
  // Close(0): what is not acknowledged then has an unknown fate. Not from a callback.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Waits until a session with the active broker is open. TIMED_OUT carries the last failure.
  absl::Status WaitForBroker(int64_t timeout_ms);

  // --- Submitting. `task` is copied during the call. Acks come in no particular order. A call that
  // does not return OK has taken nothing, and its callbacks are not called:
  //   RESOURCE_EXHAUSTED  no room in the local queue in time
  //   INVALID_ARGUMENT, TOO_LARGE  the task does not fit a frame, or has a number out of range
  //   UNAVAILABLE         the client is closed

  // The id once the task is as durable as it asked.
  std::future<absl::StatusOr<TaskId>> Submit(const TaskSpec& task);
  // `on_ack` is called exactly once. `on_outcome`, if given, once after an OK ack (the
  // client waits for it across reconnects), or never when the client is closed before.
  absl::Status Submit(const TaskSpec& task, AckCallback on_ack,
                      OutcomeCallback on_outcome = nullptr, SubmitOptions options = {});
  // The outcome itself; the error is that of the submit.
  std::future<absl::StatusOr<Outcome>> Run(const TaskSpec& task);

  // A batch of any size; it travels in as many frames as it needs, in order. Each task is judged
  // alone. It enters the local queue whole, also when it is larger than the queue (when that is
  // empty). `on_ack` (may be null) is called exactly once, when all are judged.
  std::future<BatchAck> SubmitBatch(std::span<const TaskSpec> tasks, SubmitOptions options = {});
  absl::Status SubmitBatch(std::span<const TaskSpec> tasks, BatchCallback on_ack,
                           SubmitOptions options = {});
  // Waits until everything submitted before was acknowledged. TIMED_OUT.
  absl::Status Flush(int64_t timeout_ms);

  // --- Waiting for outcomes, of any client's tasks. A task that does not exist has an outcome with
  // error kNotFound. TIMED_OUT when not all came in time.
  absl::StatusOr<Outcome> Wait(TaskId id, int64_t timeout_ms);
  // In the order of `ids`, which may repeat.
  absl::StatusOr<std::vector<Outcome>> WaitAll(std::span<const TaskId> ids, int64_t timeout_ms);
  // `on_outcome` is called once for each id that ends before `timeout_ms` (kForever: no limit),
  // `on_done` once when all have (OK), at the timeout (TIMED_OUT), or when the client is closed
  // (UNAVAILABLE). Either may be null. For progress bars and gateways.
  void WaitEach(std::span<const TaskId> ids, int64_t timeout_ms, OutcomeCallback on_outcome,
                absl::AnyInvocable<void(absl::Status)> on_done);

  // --- Queries. Each sees everything that was acknowledged before the call. Asked again by itself
  // after a reconnect; UNAVAILABLE (no broker) or TIMED_OUT after request_timeout_ms.
  absl::StatusOr<GetResult> Get(std::span<const TaskId> ids);
  // NOT_FOUND when it does not exist.
  absl::StatusOr<TaskInfo> Get(TaskId id);
  // Why a task is not running now, and its place in line. NOT_FOUND. One that is over has its state only.
  absl::StatusOr<TaskExplanation> Explain(TaskId id);
  // Every attempt at a task. NOT_FOUND.
  absl::StatusOr<TaskHistory> History(TaskId id);
  // What attempt `attempt` at a task (0: the last) wrote, from offset `from` on; also while it runs.
  // Of each attempt that the history keeps the last kOutputPages * kOutputPageBytes are there. To
  // follow one, ask again from end_offset for as long as it is running. NOT_FOUND.
  absl::StatusOr<TaskOutput> Logs(TaskId id, uint32_t attempt = 0, uint64_t from = 0);
  // One request's worth. Most callers want ListTasks.
  absl::StatusOr<ListPageResult> ListPage(const ListQuery& query);
  // All pages, one after another as they are needed. The lister must not outlive the client.
  TaskLister ListTasks(ListQuery query);
  // Gives dead tasks a new budget of attempts. Per id: OK, CONFLICT (not dead), NOT_FOUND.
  absl::StatusOr<std::vector<ItemResult>> Retry(std::span<const TaskId> ids);
  // Cancels tasks for good, in any state. A task that waits is over at once; one that runs when its
  // attempt has been ended (Get shows `cancelling` until then). From the return on none of those that
  // are OK succeeds or starts again, whatever fails. Per id: OK (also when it was cancelled before),
  // CONFLICT (it has succeeded or is dead), NOT_FOUND. After an error: some may be cancelled; the
  // same call again is safe.
  absl::StatusOr<std::vector<ItemResult>> Cancel(std::span<const TaskId> ids);

  // --- Dead letters: tasks whose attempts are spent. They stay until they are retried or deleted, unless
  // the broker is told to let them age out.
  absl::StatusOr<DeadPage> DeadLetters(const DeadQuery& query);
  // By fingerprint, the largest group first.
  absl::StatusOr<std::vector<DeadGroup>> DeadGroups(const DeadFilter& filter);
  // Retries all that match and were dead when the call began, the oldest first, each of these deaths once,
  // whatever fails: a task that dies again meanwhile is not retried again. After an error some may be
  // retried; the same call again goes on with those that are still dead.
  absl::StatusOr<DeadProgress> RetryDead(const DeadFilter& filter, const DeadJob& job = {});
  // The same, and they are deleted.
  absl::StatusOr<DeadProgress> PurgeDead(const DeadFilter& filter, const DeadJob& job = {});
  // Per id: OK, CONFLICT (not dead), NOT_FOUND. Its idempotency key is held on for its time.
  absl::StatusOr<std::vector<ItemResult>> DeleteDead(std::span<const TaskId> ids);

  // --- The broker
  // All queues by name, or the one of that name (NOT_FOUND).
  absl::StatusOr<std::vector<QueueInfo>> Queues();
  absl::StatusOr<QueueInfo> GetQueue(const std::string& name);
  // Changes what `change` gives, durably, and makes the queue when there is none. Returns what holds
  // then. INVALID_ARGUMENT names the setting that is out of range.
  absl::StatusOr<QueueInfo> SetQueue(const std::string& name, const QueueChange& change);
  // Cancels the tasks of a queue that wait, as many as wait when it is called; what runs goes on.
  // `progress`, if given, hears of the tasks cancelled so far, after each 1,000. Returns how many were
  // cancelled. After an error: some are; the same call again goes on. NOT_FOUND: no such queue.
  absl::StatusOr<uint64_t> PurgeQueue(const std::string& name,
                                      const std::function<void(uint64_t cancelled)>& progress = {});
  // As Queues, GetQueue, SetQueue, for types of tasks: those that there were tasks of, or rules for.
  absl::StatusOr<std::vector<TypeInfo>> Types();
  absl::StatusOr<TypeInfo> GetType(const std::string& name);
  absl::StatusOr<TypeInfo> SetType(const std::string& name, const TypeChange& change);
  // Makes a schedule; CONFLICT when there is one of that name. With `replace` it takes that one's
  // place, and goes on from the same tick if expression, zone and overlap are the same.
  // INVALID_ARGUMENT begins with the name of the field. Returns what holds then. Should the connection
  // break in between, it is asked for again, and CONFLICT may mean that the first time was heard.
  absl::StatusOr<ScheduleInfo> SetSchedule(const ScheduleSpec& spec, bool replace = false);
  // All schedules by name, or the one of that name. That one and all below: NOT_FOUND when there is
  // none.
  absl::StatusOr<std::vector<ScheduleInfo>> Schedules();
  absl::StatusOr<ScheduleInfo> GetSchedule(const std::string& name);
  // Ticks of a pause do not fire later.
  absl::StatusOr<ScheduleInfo> PauseSchedule(const std::string& name, bool paused);
  // Submits the schedule's task at once, also of one that is paused; its ticks stay as they are. When
  // the connection breaks in between there may be two of it.
  absl::StatusOr<TaskId> TriggerSchedule(const std::string& name);
  // The same once for each tick from `from_ms` to `to_ms`, both inclusive and past, at most
  // kMaxBackfillTicks. Per tick its task, or RESOURCE_EXHAUSTED and no id.
  absl::StatusOr<std::vector<ItemResult>> BackfillSchedule(const std::string& name, int64_t from_ms,
                                                           int64_t to_ms);
  // Its tasks stay.
  absl::Status RemoveSchedule(const std::string& name);
  absl::StatusOr<StatusInfo> Status();
  // What has happened since `query.from`, as far as the broker has kept its log. A page may be short, even
  // empty, before the end: ask again from page.next until page.complete(). To follow what happens, go on
  // asking; an empty answer costs the broker next to nothing. UNAVAILABLE, TIMED_OUT as all queries.
  absl::StatusOr<EventPage> Events(const EventQuery& query);
  absl::StatusOr<std::vector<WorkerSummary>> Workers();
  // Asks a worker to leave: by name, by id (32 hex digits) or an unambiguous start of it.
  // NOT_FOUND, CONFLICT (ambiguous).
  absl::Status DrainWorker(const std::string& worker);
  // Has the active broker of a pair and its standby change places. OK: it has begun, and Status of the other broker shows
  // when it is done. CONFLICT: there is no standby that has everything.
  absl::Status Switchover();
  // Has the broker that this client observes take over from one that is gone. OK: it has begun. CONFLICT: the other one is
  // there, or has what this one may not have; with `force` that is done, and what only the other one has is out
  // of reach until it comes back, with an arbiter for good.
  absl::Status Promote(bool force);

  // Takes no more submits, waits up to `timeout_ms` until all were acknowledged, says GOODBYE, ends
  // the background thread. Remaining acks and requests are answered UNAVAILABLE. TIMED_OUT when
  // something was left. The second call does nothing.
  absl::Status Close(int64_t timeout_ms);

  ClientStats stats() const;
  // The random id under which the broker knows this client's submits.
  Uuid id() const;

 private:
  class Core;
  explicit Client(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
};

// Walks the pages of a list, hiding short and empty ones.
//
//   zsched::TaskLister lister = client->ListTasks({.queue = "mail"});
//   zsched::TaskInfo task;
//   while (lister.Next(&task)) Print(task);
//   if (!lister.status().ok()) ...
//
// Threads: one at a time.
class TaskLister {
 public:
  // The next task, or false at the end and on an error (see status()). May block for a request.
  bool Next(TaskInfo* task);
  const absl::Status& status() const { return status_; }
  // After the last Next: where another List could continue; TaskId(0) when all was seen.
  TaskId cursor() const { return cursor_; }

 private:
  friend class Client;
  TaskLister(Client* client, ListQuery query);

  Client* client_;
  ListQuery query_;
  std::vector<TaskInfo> page_;
  size_t next_ = 0;
  bool complete_ = false;
  size_t remaining_;  // of query_.limit
  TaskId cursor_;
  absl::Status status_;
};

}  // namespace zsched
