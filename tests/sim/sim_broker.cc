#include "tests/sim/sim_broker.h"

#include "schemas/errors.h"
#include "tests/sim/judge.h"
#include "tests/sim/sim_pair.h"
#include "tests/support/event_replay.h"
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
constexpr int64_t kHeartbeatMs = 100;
// Some ten tasks: a merge is many parts, and is cut off in the middle.
constexpr size_t kMergePart = 3'000;

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

SimBroker::SimBroker(World& world, uint8_t number, SimPair* pair)
    : Process(world), number_(number), pair_(pair), disk_(broker::MakeMemoryDisk()) {}
SimBroker::~SimBroker() {
  node_.reset();
  journal_.reset();
}

void SimBroker::Boot() {
  Start();
  world_.scheduler.Trace("broker up", number_);
  if (pair_ == nullptr) world_.judge.BrokerStarted();
  world_.judge.SetRetention(world_.workload.keep_finished, world_.workload.keep_finished_ms);
  world_.judge.SetMaxDead(world_.workload.max_dead);
  disk_->KeepLog(world_.faults.keep_log_bytes);
  OpenNode();
  Listen(Endpoint::kClient);
  Listen(Endpoint::kWorker);
  HandOver();
}

// The journal is not open.
void SimBroker::OpenNode() {
  const WorkloadProfile& workload = world_.workload;
  broker::NodeConfig config;
  config.engine.core.max_queue_tasks = workload.max_queue_tasks;
  config.engine.core.keep_finished = workload.keep_finished;
  config.engine.core.keep_finished_ms = workload.keep_finished_ms;
  config.engine.core.max_dead = workload.max_dead;
  config.engine.intake.light_bytes = workload.light_bytes;
  config.engine.node = std::string(broker::NodeName(number_));
  config.engine.version = "sim";
  config.engine.address = ":5570";
  config.engine.worker_address = ":5571";
  config.role.node = number_;
  config.role.cluster = Uuid{random_.Next(), random_.Next()};
  if (pair_ != nullptr) {
    const std::string other = kHosts[1 - number_];
    config.paired = true;
    config.role.arbitrated = pair_->arbitrated();
    config.life = ++lives_ << 20 | number_;
    config.peer_host = other;
    config.peer_address = other + ":5570";
    config.peer_worker_address = other + ":5571";
    config.open_copy = [this] { return OpenCopy(); };
    if (!pair_->arbitrated()) {
      config.open_merge = [this](JournalView& own) { return OpenMerge(own); };
      config.close_merge = [this](const absl::Status& merged) { return CloseMerge(merged); };
    }
  }
  node_life_ = NewLife();
  known_to_serve_ = false;
  beat_ms_ = now().mono_ms;
  journal_ = broker::OpenMemoryJournal(disk_);
  node_ = std::make_unique<broker::Node>(config, *journal_, static_cast<broker::Outbox&>(*this),
                                         static_cast<broker::PeerOutbox*>(this));
  runner_ = std::make_unique<broker::QueryRunner>();
  const broker::Register own = pair_ == nullptr ? broker::Register() : pair_->OwnRegister(number_);
  absl::Status started = node_->Start(own, now());
  if (!started.ok()) world_.judge.Fail("the broker cannot start: " + MessageOf(started));
}

std::string SimBroker::EndpointOf(Endpoint kind) const {
  return std::string("tcp://") + kHosts[number_] + (kind == Endpoint::kClient ? ":5570" : ":5571");
}

void SimBroker::Listen(Endpoint kind) {
  world_.network.Listen(EndpointOf(kind),
                        [this, kind](const std::string& routing_id, std::string frame) {
                          inbox_.push_back({kind, routing_id, std::move(frame)});
                          WakeNow();
                        });
}

void SimBroker::Crash() {
  if (!up()) return;
  world_.scheduler.Trace("broker down", number_);
  Die();
  world_.network.Unlisten(EndpointOf(Endpoint::kClient));
  world_.network.Unlisten(EndpointOf(Endpoint::kWorker));
  if (journal_busy_) ++world_.reached[on_disk_ ? "crash_before_report" : "crash_before_commit"];
  if (engine().core().HasRecords()) ++world_.reached["crash_with_open_batch"];
  CloseNode();
  inbox_.clear();
}

void SimBroker::CloseNode() {
  for (size_t i = 0; i < broker::kMetricNames.size(); ++i)
    world_.reached[broker::kMetricNames[i]] += engine().core().metrics().values()[i];
  node_life_.reset();
  node_.reset();
  journal_.reset();
  queries_.clear();
  replies_.clear();
  from_peer_.clear();
  answers_.clear();
  journal_busy_ = commit_done_ = query_running_ = false;
  expected_.clear();
}

void SimBroker::SetDiskLow(bool low) {
  if (!up()) return;
  if (IsTheActive()) world_.judge.DiskLow(low);
  engine().SetDiskLow(low ? "the broker's disk is nearly full" : "");
}

// --- The loop, as Server::Round -----------------------------------------------------------------------------------------

void SimBroker::Round() {
  if (!TakeCommit() || (pair_ != nullptr && !TakeFromPeer())) return;
  if (node_->TakeCommitted()) {
    ReportCommitted();
    HandOver();
    if (Died(node_->ReleaseCommitted())) return;
  }
  if (!TakeReplies()) return;
  if (!node_->leaving()) ReadInbox();
  if (now().mono_ms >= node_->next_tick_ms(now())) {
    if (Died(node_->OnTick(now())) || !NoteServing()) return;
    if (node_->TakeCommitted()) {
      ReportCommitted();
      if (Died(node_->ReleaseCommitted())) return;
    }
  }
  if (Died(node_->EndRound(now()))) return;
  if (engine().serving()) {
    if (absl::Status broken = engine().core().CheckInvariants(); !broken.ok())
      return world_.judge.Fail(MessageOf(broken));
  }
  if (IsTheActive()) world_.judge.RoundOver(now().wall_ms);
  RunQueries();
  HandOver();
  if (!inbox_.empty() || !from_peer_.empty()) WakeNow();
  WakeAtMono(node_->next_tick_ms(now()));
  if (pair_ != nullptr) Beat();
}

bool SimBroker::Died(const absl::Status& status) {
  if (status.ok()) return false;
  world_.judge.Fail("the broker ended: " + MessageOf(status));
  return true;
}

bool SimBroker::TakeCommit() {
  if (!std::exchange(commit_done_, false)) return true;
  journal_busy_ = false;
  if (pair_ == nullptr) world_.judge.CommitReported();
  if (!commit_status_.ok()) {  // as Server::Run: the process ends, and is started again
    Crash();
    return false;
  }
  return !Died(node_->OnDurable(batches_[at_journal_], static_cast<uint64_t>(commit_us_), now())) &&
         NoteServing();
}

// --- Of a pair ----------------------------------------------------------------------------------------------------------

void SimBroker::FromPeer(std::string frame) {
  if (!up()) return;
  from_peer_.push_back(std::move(frame));
  WakeNow();
}

void SimBroker::OnRegister(absl::StatusOr<broker::Register> value) {
  answers_.push_back(std::move(value));
  WakeNow();
}

void SimBroker::SendToPeer(std::string frame) { pair_->SendToPeer(number_, std::move(frame)); }

wire::Role SimBroker::role() const {
  return up() ? node_->role()->role() : wire::Role::kRecovering;
}

void SimBroker::HandOverToPeer() {
  if (up() && !paused() && node_->role()->active()) node_->HandOver(now());
}

bool SimBroker::IsTheActive() const {
  return pair_ == nullptr || (known_to_serve_ && !pair_->IsStale(*node_));
}

bool SimBroker::TakeFromPeer() {
  for (int64_t n = random_.LogBetween(1, kMaxFramesPerRound); n > 0 && !from_peer_.empty(); --n) {
    const std::string frame = std::move(from_peer_.front());
    from_peer_.pop_front();
    const auto message = broker::OpenPeerFrame(aligned_.Align(frame));
    if (Died(message.status()) || Died(node_->OnPeer(*message, now())) || !NoteServing())
      return false;
  }
  for (; !answers_.empty(); answers_.pop_front())
    if (Died(node_->OnRegister(answers_.front(), now())) || !NoteServing()) return false;
  return true;
}

// From here on it is the one that the oracle listens to; with what it has, all of which is on its disk.
bool SimBroker::NoteServing() {
  if (pair_ == nullptr || known_to_serve_ || !engine().serving()) return true;
  known_to_serve_ = true;
  ++world_.reached["promotions"];
  auto view = journal_->View();
  pair_->Serves(number_, engine().core().state().epoch(), **view);
  world_.judge.BrokerStarted();
  return !world_.judge.failed();
}

void SimBroker::ReportCommitted() {
  if (pair_ == nullptr || !known_to_serve_) return;
  const broker::Batch& batch = batches_[at_journal_];
  // The one before its own epoch was another's, and is known.
  if (batch.epoch() != engine().core().state().epoch()) return;
  pair_->Committed(number_, batch);
  if (IsTheActive()) world_.judge.CommitReported();
}

void SimBroker::Beat() {
  if (auto question = node_->TakeQuestion()) pair_->Ask(number_, node_life_, *question);
  if (!node_->over().empty()) return Reopen();
  // As HeartbeatThread: at once when the other one acts on the change.
  const broker::RoleMachine& machine = *node_->role();
  const bool acts = machine.role() != said_role_ || machine.known() != said_known_;
  if (machine.role() != said_role_)
    world_.scheduler.Trace("role", number_, static_cast<uint64_t>(machine.role()),
                           machine.epoch().value());
  if (acts || now().mono_ms >= beat_ms_) {
    said_role_ = machine.role();
    said_known_ = machine.known();
    beat_ms_ = now().mono_ms + kHeartbeatMs;
    SendToPeer(broker::SealPeerFrame(node_->Heartbeat()));
  }
  WakeAtMono(beat_ms_);
}

absl::StatusOr<std::unique_ptr<broker::Journal>> SimBroker::OpenCopy() {
  copy_ = broker::MakeMemoryDisk();
  copy_->KeepLog(world_.faults.keep_log_bytes);
  return broker::OpenMemoryJournal(copy_);
}

absl::StatusOr<std::unique_ptr<broker::MergeSource>> SimBroker::OpenMerge(JournalView& own) {
  for (; !archives_.empty(); archives_.pop_front()) {
    ZS_ASSIGN_OR_RETURN(
        auto source,
        broker::MergeSource::Open(broker::OpenMemoryJournal(archives_.front()), own, kMergePart));
    if (source != nullptr) return source;
  }
  return nullptr;
}

absl::Status SimBroker::CloseMerge(const absl::Status& merged) {
  if (!merged.ok())
    world_.judge.Fail("what a broker did alone cannot be merged: " + MessageOf(merged));
  archives_.pop_front();
  ++world_.reached["merges"];
  return absl::OkStatus();
}

bool SimBroker::AtRest() const {
  if (!up() || !node_->engine().serving()) return false;
  const State& state = node_->engine().core().state();
  const auto queues = state.lanes().queues();
  return std::all_of(queues.begin(), queues.end(),
                     [](const broker::Queue& queue) { return queue.unfinished == 0; }) &&
         std::all_of(state.schedules().begin(), state.schedules().end(),
                     [](const auto& entry) { return entry.second.row.paused != 0; });
}

// As Server::Reopen: what is at the journal is written, and the process goes on with what is there then.
void SimBroker::Reopen() {
  world_.scheduler.Trace("broker begins anew", number_);
  ++world_.reached["demotions"];
  if (journal_busy_ && !on_disk_) Commit();
  const bool has_copy = node_->has_copy();
  CloseNode();
  if (has_copy) {
    if (!pair_->arbitrated()) {
      world_.judge.SetAside(**OpenDisk()->View());
      archives_.push_back(disk_);
    }
    disk_ = std::move(copy_);
    ++world_.reached["copies"];
  }
  OpenNode();
  WakeNow();
}

bool SimBroker::TakeReplies() {
  while (!replies_.empty()) {
    broker::QueryReply reply = std::move(replies_.front());
    replies_.pop_front();
    if (Died(engine().OnReply(std::move(reply), now()))) return false;
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
    world_.judge.FrameIn(arrival.endpoint, arrival.routing_id, arrival.frame);
    engine().OnFrame(arrival.endpoint, arrival.routing_id, aligned_.Align(arrival.frame), now());
  }
}

broker::Delivery SimBroker::Send(Endpoint endpoint, std::string_view routing_id,
                                 const FrameHeader& header, std::string_view body) {
  Sent sent = world_.network.SendToPeer(std::string(routing_id), SealFrame(header, body));
  if (sent != Sent::kSent && IsTheActive()) world_.judge.NotDelivered(header.session);
  if (sent == Sent::kGone) return broker::Delivery::kGone;
  if (sent == Sent::kFull) return broker::Delivery::kFull;
  if (IsTheActive())
    world_.judge.FrameOut(endpoint, routing_id, header, body);
  else
    world_.judge.StaleFrameOut(routing_id, header, body);
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
  if (!node_->TakeBatch(batches_[next])) return;
  at_journal_ = next;
  if (pair_ != nullptr && engine().serving()) {
    world_.judge.WallShown(now().wall_ms);
    pair_->Made(batches_[next]);
  }
  journal_busy_ = true;
  on_disk_ = false;
  if (IsTheActive()) world_.judge.BatchTaken();
  if (random_.Chance(kRebuildChance)) expected_ = engine().core().state().Fingerprint();
  const FaultProfile& faults = world_.faults;
  int64_t takes_us = random_.LogBetween(faults.commit_min_us, faults.commit_max_us);
  if (random_.Chance(faults.commit_stall))
    takes_us = random_.Between(0, faults.commit_stall_max_ms * kMillisecond);
  commit_us_ = takes_us;
  // On disk at some moment of it; reported at the end. A crash between the two finds the batch durable and nobody told.
  world_.scheduler.After(random_.Between(0, takes_us), node_life_, [this] { Commit(); });
  world_.scheduler.After(takes_us, node_life_, [this] {
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
    world_.judge.Fail("a commit failed: " + MessageOf(commit_status_));
  on_disk_ = applied;
  if (applied && pair_ == nullptr) world_.judge.Committed(batch);
  if (applied && pair_ != nullptr && !pair_->arbitrated()) world_.judge.Written(batch);
  if (applied && !expected_.empty()) CompareWithDisk(expected_);
  expected_.clear();
}

// --- The query thread -------------------------------------------------------------------------------------------------

void SimBroker::RunQueries() {
  for (broker::Query& query : engine().TakeQueries()) queries_.push_back(std::move(query));
  if (!query_running_ && !queries_.empty()) AnswerNext();
}

void SimBroker::AnswerNext() {
  query_running_ = true;
  int64_t takes_us = random_.LogBetween(10, world_.faults.query_max_us);
  // Sees the disk as it is at one moment of the query.
  world_.scheduler.After(random_.Between(0, takes_us), node_life_, [this, takes_us] {
    auto view = journal_->View();
    broker::QueryReply reply = runner_->Run(**view, queries_.front());
    queries_.pop_front();
    world_.scheduler.After(random_.Between(0, takes_us), node_life_, [this, reply]() mutable {
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
  if (!status.ok()) return world_.judge.Fail("the tables cannot be read: " + MessageOf(status));
  if (std::string tables = rebuilt.Fingerprint(); tables != live)
    world_.judge.Fail("the live state is not that of the tables: " + Difference(live, tables));
}

void SimBroker::CompareDiskWithLog() {
  auto journal = OpenDisk();
  auto view = *journal->View();
  State replayed, rebuilt;
  absl::Status status = Rebuild(*view, rebuilt);
  const bool whole = pair_ == nullptr || view->Bounds()->first == Lsn(1);
  if (status.ok() && whole) status = Replay(*view, replayed);
  if (!status.ok()) return world_.judge.Fail("the disk cannot be read: " + MessageOf(status));
  const std::string tables = rebuilt.Fingerprint();
  if (whole && tables != replayed.Fingerprint())
    world_.judge.Fail("the state of the tables is not that of the log: " +
                      Difference(tables, replayed.Fingerprint()));
  if (whole) CompareWithEvents(*view);
  if (pair_ == nullptr || view->Bounds()->last != pair_->lsn()) return;
  if (tables != pair_->Fingerprint())
    world_.judge.Fail("the state of the tables is not that of what was committed: " +
                      Difference(tables, pair_->Fingerprint()));
}

// Who follows the events from the first one on knows of every task how it stands.
void SimBroker::CompareWithEvents(broker::JournalView& view) {
  broker::EventReplay replay;
  absl::Status status = replay.TakeLog(view);
  if (replay.merged()) return;
  if (status.ok()) status = replay.Compare(view);
  if (!status.ok()) world_.judge.Fail(MessageOf(status));
}

}  // namespace zsched::sim
