#include "tests/sim/sim_broker.h"

#include "schemas/errors.h"
#include "tests/sim/oracle.h"
#include "tests/support/recover.h"

namespace zsched::sim {
namespace {

using broker::Endpoint;
using broker::JournalView;
using broker::State;
using broker::Table;

// Of commits: the state is rebuilt from the tables and compared.
constexpr double kRebuildChance = 0.02;
constexpr int64_t kMaxFramesPerRound = 64;

// The first line in which two fingerprints differ.
std::string Difference(const std::string& a, const std::string& b) {
  size_t begin = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()) && a[i] == b[i]; ++i)
    if (a[i] == '\n') begin = i + 1;
  auto line = [&](const std::string& text) {
    return begin >= text.size() ? std::string("(nothing)")
                                : text.substr(begin, text.find('\n', begin) - begin);
  };
  return "'" + line(a) + "' against '" + line(b) + "'";
}

}  // namespace

SimBroker::SimBroker(World& world) : Process(world), disk_(broker::MakeMemoryDisk()) {}
SimBroker::~SimBroker() {
  engine_.reset();
  journal_.reset();
}

void SimBroker::Boot() {
  Start();
  const WorkloadProfile& workload = world_.workload;
  broker::EngineConfig config;
  config.core.max_queue_tasks = workload.max_queue_tasks;
  config.core.keep_finished = workload.keep_finished;
  config.core.keep_finished_ms = workload.keep_finished_ms;
  config.core.max_dead = workload.max_dead;
  config.intake.light_bytes = workload.light_bytes;
  config.version = "sim";
  config.address = ":5570";
  config.worker_address = ":5571";
  journal_ = broker::OpenMemoryJournal(disk_);
  engine_ =
      std::make_unique<broker::Engine>(config, *journal_, static_cast<broker::Outbox&>(*this));
  runner_ = std::make_unique<broker::QueryRunner>();
  world_.scheduler.Trace("broker up");
  world_.oracle.BrokerStarted();
  world_.oracle.SetRetention(workload.keep_finished, workload.keep_finished_ms);
  world_.oracle.SetMaxDead(workload.max_dead);
  absl::Status started = engine_->Start(Uuid{random_.Next(), random_.Next()}, now());
  if (!started.ok()) return world_.oracle.Fail("the broker cannot start: " + MessageOf(started));
  Listen(kClientEndpoint, Endpoint::kClient);
  Listen(kWorkerEndpoint, Endpoint::kWorker);
  HandOver();
}

void SimBroker::Listen(const char* endpoint, Endpoint kind) {
  world_.network.Listen(endpoint, [this, kind](const std::string& routing_id, std::string frame) {
    inbox_.push_back({kind, routing_id, std::move(frame)});
    WakeNow();
  });
}

void SimBroker::Crash() {
  if (!up()) return;
  world_.scheduler.Trace("broker down");
  Die();
  world_.network.Unlisten(kClientEndpoint);
  world_.network.Unlisten(kWorkerEndpoint);
  for (size_t i = 0; i < broker::kMetricNames.size(); ++i)
    world_.reached[broker::kMetricNames[i]] += engine_->core().metrics().values()[i];
  if (journal_busy_) ++world_.reached[on_disk_ ? "crash_before_report" : "crash_before_commit"];
  if (engine_->core().HasRecords()) ++world_.reached["crash_with_open_batch"];
  engine_.reset();
  journal_.reset();
  inbox_.clear();
  queries_.clear();
  replies_.clear();
  journal_busy_ = commit_done_ = query_running_ = false;
  expected_.clear();
}

void SimBroker::SetDiskLow(bool low) {
  if (!up()) return;
  world_.oracle.DiskLow(low);
  engine_->SetDiskLow(low ? "the broker's disk is nearly full" : "");
}

// --- The loop, as Server::Round -----------------------------------------------------------------------------------------

void SimBroker::Round() {
  if (!TakeCommit() || !TakeReplies()) return;
  ReadInbox();
  if (now().mono_ms >= engine_->next_tick_ms(now())) engine_->OnTick(now());
  if (Died(engine_->EndRound(now()))) return;
  if (absl::Status broken = engine_->core().CheckInvariants(); !broken.ok())
    return world_.oracle.Fail(MessageOf(broken));
  world_.oracle.RoundOver(now().wall_ms);
  RunQueries();
  HandOver();
  if (!inbox_.empty()) WakeNow();
  WakeAtMono(engine_->next_tick_ms(now()));
}

bool SimBroker::Died(const absl::Status& status) {
  if (status.ok()) return false;
  world_.oracle.Fail("the broker ended: " + MessageOf(status));
  return true;
}

bool SimBroker::TakeCommit() {
  if (!std::exchange(commit_done_, false)) return true;
  journal_busy_ = false;
  world_.oracle.CommitReported();
  if (!commit_status_.ok()) {  // as Server::Run: the process ends, and is started again
    Crash();
    return false;
  }
  engine_->OnCommitted(batches_[at_journal_], static_cast<uint64_t>(commit_us_), now());
  HandOver();
  return !Died(engine_->ReleaseCommitted());
}

bool SimBroker::TakeReplies() {
  while (!replies_.empty()) {
    broker::QueryReply reply = std::move(replies_.front());
    replies_.pop_front();
    if (Died(engine_->OnReply(std::move(reply), now()))) return false;
  }
  return true;
}

// A random part of what is there, workers' frames not always first: the order of two sockets is open.
void SimBroker::ReadInbox() {
  int64_t frames = random_.LogBetween(1, kMaxFramesPerRound);
  for (; frames > 0 && !inbox_.empty(); --frames) {
    Arrival arrival = std::move(inbox_.front());
    inbox_.pop_front();
    world_.network.ReadFrom(arrival.routing_id);
    world_.oracle.FrameIn(arrival.endpoint, arrival.routing_id, arrival.frame);
    engine_->OnFrame(arrival.endpoint, arrival.routing_id, aligned_.Align(arrival.frame), now());
  }
}

broker::Delivery SimBroker::Send(Endpoint endpoint, std::string_view routing_id,
                                 const FrameHeader& header, std::string_view body) {
  Sent sent = world_.network.SendToPeer(std::string(routing_id), SealFrame(header, body));
  if (sent != Sent::kSent) world_.oracle.NotDelivered(header.session);
  if (sent == Sent::kGone) return broker::Delivery::kGone;
  if (sent == Sent::kFull) return broker::Delivery::kFull;
  world_.oracle.FrameOut(endpoint, routing_id, header, body);
  return broker::Delivery::kSent;
}

// Room that is seen may be gone when the frame is made.
bool SimBroker::HasRoom(Endpoint, std::string_view routing_id) {
  return world_.network.HasRoom(std::string(routing_id)) || random_.Chance(0.5);
}

// --- The journal thread -----------------------------------------------------------------------------------------------

void SimBroker::HandOver() {
  if (journal_busy_) return;
  int next = 1 - at_journal_;
  if (!engine_->TakeBatch(batches_[next])) return;
  at_journal_ = next;
  journal_busy_ = true;
  on_disk_ = false;
  world_.oracle.BatchTaken();
  if (random_.Chance(kRebuildChance)) expected_ = engine_->core().state().Fingerprint();
  const FaultProfile& faults = world_.faults;
  int64_t takes_us = random_.LogBetween(faults.commit_min_us, faults.commit_max_us);
  if (random_.Chance(faults.commit_stall))
    takes_us = random_.Between(0, faults.commit_stall_max_ms * kMillisecond);
  commit_us_ = takes_us;
  // On disk at some moment of it; reported at the end. A crash between the two finds the batch durable and nobody told.
  world_.scheduler.After(random_.Between(0, takes_us), life_, [this] { Commit(); });
  world_.scheduler.After(takes_us, life_, [this] {
    commit_done_ = true;
    WakeNow();
  });
}

void SimBroker::Commit() {
  broker::Batch& batch = batches_[at_journal_];
  bool fails = random_.Chance(world_.faults.commit_error), applied = !fails || random_.Chance(0.5);
  if (fails) disk_->FailNextCommit(Error(ErrorCode::kInternal, "injected"), applied);
  commit_status_ = journal_->Commit(batch);
  if (!fails && !commit_status_.ok())
    world_.oracle.Fail("a commit failed: " + MessageOf(commit_status_));
  on_disk_ = applied;
  if (applied) world_.oracle.Committed(batch);
  if (applied && !expected_.empty()) CompareWithDisk(expected_);
  expected_.clear();
}

// --- The query thread -------------------------------------------------------------------------------------------------

void SimBroker::RunQueries() {
  for (broker::Query& query : engine_->TakeQueries()) queries_.push_back(std::move(query));
  if (!query_running_ && !queries_.empty()) AnswerNext();
}

void SimBroker::AnswerNext() {
  query_running_ = true;
  int64_t takes_us = random_.LogBetween(10, world_.faults.query_max_us);
  // Sees the disk as it is at one moment of the query.
  world_.scheduler.After(random_.Between(0, takes_us), life_, [this, takes_us] {
    auto view = journal_->View();
    broker::QueryReply reply = runner_->Run(**view, queries_.front());
    queries_.pop_front();
    world_.scheduler.After(random_.Between(0, takes_us), life_, [this, reply]() mutable {
      replies_.push_back(std::move(reply));
      query_running_ = false;
      if (!queries_.empty()) AnswerNext();
      WakeNow();
    });
  });
}

// --- Comparing --------------------------------------------------------------------------------------------------------

void SimBroker::CompareWithDisk(const std::string& live) {
  auto view = journal_->View();
  State rebuilt;
  absl::Status status = Rebuild(**view, rebuilt);
  if (!status.ok()) return world_.oracle.Fail("the tables cannot be read: " + MessageOf(status));
  if (std::string tables = rebuilt.Fingerprint(); tables != live)
    world_.oracle.Fail("the live state is not that of the tables: " + Difference(live, tables));
}

void SimBroker::CompareDiskWithLog() {
  auto journal = broker::OpenMemoryJournal(disk_);
  auto view = *journal->View();
  State replayed, rebuilt;
  absl::Status status = Rebuild(*view, rebuilt);
  if (status.ok()) status = Replay(*view, replayed);
  if (!status.ok()) return world_.oracle.Fail("the disk cannot be read: " + MessageOf(status));
  std::string tables = rebuilt.Fingerprint(), log = replayed.Fingerprint();
  if (tables != log)
    world_.oracle.Fail("the state of the tables is not that of the log: " +
                       Difference(tables, log));
}

}  // namespace zsched::sim
