#include "tests/sim/sim_pair.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "broker/core/record.h"
#include "schemas/errors.h"
#include "tests/sim/judge.h"
#include "tests/sim/sim_broker.h"

namespace zsched::sim {
namespace {

using broker::Batch;
using broker::LogSegment;

// An answer of the arbiter: a little later than a frame.
constexpr int64_t kAnswerMaxUs = 20 * kMillisecond;
// As etcd's and the witness's: so long a broker waits for one.
constexpr int64_t kAnswerTimeoutUs = 1'000 * kMillisecond;

// What a peer's frame is about, for the trace.
uint64_t LsnOf(const broker::PeerMessage& message) {
  if (auto* beat = std::get_if<broker::PeerHeartbeat>(&message)) return beat->state.end.lsn.value();
  if (auto* append = std::get_if<broker::PeerAppend>(&message))
    return append->part.last_lsn().value();
  if (auto* acked = std::get_if<broker::PeerAppended>(&message)) return acked->lsn.value();
  if (auto* fetch = std::get_if<broker::PeerFetch>(&message)) return fetch->end.lsn.value();
  if (auto* diverged = std::get_if<broker::PeerDiverged>(&message)) return diverged->lsn.value();
  if (auto* handover = std::get_if<broker::PeerHandover>(&message)) return handover->end.value();
  return 0;
}

uint64_t Bits(const broker::Register& value) {
  return uint64_t{value.epoch.value()} << 16 | uint64_t{value.active} << 8 | value.in_sync;
}

// Calls `visit` with each record of `records`, the first of which has `lsn`.
template <class Visit>
void ForEachRecord(Lsn lsn, std::string_view records, Visit visit) {
  while (!records.empty()) {
    broker::RecordHead head;
    if (!broker::RowReader(records).Read(head) || head.bytes > records.size()) return;
    visit(lsn, records.substr(0, head.bytes));
    records.remove_prefix(head.bytes);
    lsn = Next(lsn);
  }
}

}  // namespace

SimPair::SimPair(World& world)
    : world_(world),
      random_(world.scheduler.random().Fork()),
      arbitrated_(world.faults.arbitrated),
      late_(world.faults.peer_late > 0) {
  truth_journal_ = broker::OpenMemoryJournal(broker::MakeMemoryDisk());
  truth_ = std::make_unique<broker::Engine>(broker::EngineConfig(), *truth_journal_, no_peers_);
  Failed(truth_->Load({}));
}

SimPair::~SimPair() { truth_.reset(); }

bool SimPair::Failed(const absl::Status& status) {
  if (!status.ok()) world_.judge.Fail("what was committed cannot be applied: " + MessageOf(status));
  return !status.ok();
}

// --- The link -----------------------------------------------------------------------------------------------------------

int64_t SimPair::DelayUs() {
  const FaultProfile& faults = world_.faults;
  int64_t delay = random_.LogBetween(faults.delay_min_us, faults.delay_max_us);
  if (random_.Chance(faults.delay_spike))
    delay += random_.Between(0, faults.delay_spike_max_ms * kMillisecond);
  return delay;
}

// Who is in sync is never told that its log cannot be continued. Where frames come late it may have been asked long ago; and
// what is told to a following that is over is heard by nobody.
void SimPair::CheckToPeer(uint8_t from, const std::string& frame) {
  const auto message = broker::OpenPeerFrame(aligned_.Align(frame));
  if (!message.ok()) return world_.judge.Fail("a broker sends what no broker takes");
  world_.scheduler.Trace("to peer", from, message->index(), LsnOf(*message));
  if (auto* fetch = std::get_if<broker::PeerFetch>(&*message)) following_[from] = fetch->life;
  if (auto* fetch = std::get_if<broker::PeerSnapshotFetch>(&*message))
    following_[from] = fetch->life;
  if (late_ || !arbitrated_) return;
  const auto* diverged = std::get_if<broker::PeerDiverged>(&*message);
  const broker::Register now = register_.Read();
  const auto to = static_cast<uint8_t>(1 - from);
  if (diverged != nullptr && diverged->life == following_[to] && diverged->epoch == now.epoch &&
      now.IsMember(to))
    world_.judge.Fail("a broker that is in sync is told that its log is not continued");
}

void SimPair::SendToPeer(uint8_t from, std::string frame) {
  CheckToPeer(from, frame);
  const FaultProfile& faults = world_.faults;
  auto arrive = [this, from, frame = std::move(frame)] {
    if (world_.scheduler.now_us() >= cut_until_us_[from]) brokers_[1 - from]->FromPeer(frame);
  };
  if (random_.Chance(faults.peer_late))
    world_.scheduler.After(random_.Between(0, faults.peer_late_max_ms * kMillisecond), life_,
                           arrive);
  if (!random_.Chance(faults.peer_lost))
    world_.scheduler.After(DelayUs(), life_, std::move(arrive));
}

void SimPair::CutOneWay(int64_t for_us) {
  const uint64_t from = random_.Below(2);
  world_.scheduler.Trace("peer cut", from, static_cast<uint64_t>(for_us));
  cut_until_us_[from] = world_.scheduler.now_us() + for_us;
}

void SimPair::CutBoth(int64_t for_us) {
  world_.scheduler.Trace("peers cut", static_cast<uint64_t>(for_us));
  cut_until_us_.fill(world_.scheduler.now_us() + for_us);
}

void SimPair::ArbiterAway(int64_t for_us) {
  world_.scheduler.Trace("arbiter away", static_cast<uint64_t>(for_us));
  away_until_us_ = world_.scheduler.now_us() + for_us;
}

void SimPair::Heal() {
  cut_until_us_ = {};
  away_until_us_ = 0;
}

// --- The register -------------------------------------------------------------------------------------------------------

void SimPair::Ask(uint8_t from, const Life& life, const broker::RegisterQuestion& question) {
  if (!arbitrated_) return AskOwn(from, life, question);
  const int64_t there_us = random_.Between(0, kAnswerMaxUs),
                back_us = random_.Between(0, kAnswerMaxUs);
  const bool lost = random_.Chance(world_.faults.answer_lost);
  const bool unheard = lost && random_.Chance(0.5);
  // Not the asker's life: what it has sent arrives though it has died.
  world_.scheduler.After(there_us, life_, [=, this, asker = std::weak_ptr<const int>(life)] {
    const bool away = unheard || world_.scheduler.now_us() < away_until_us_;
    absl::StatusOr<broker::Register> value = register_.Read();
    if (question.swap && !away) value = register_.Swap(question.expected, question.wanted);
    world_.scheduler.Trace("register asked", from,
                           uint64_t{question.swap} << 2 | uint64_t{away} << 1 | uint64_t{lost},
                           Bits(*value));
    if (away || lost)
      return Answer(from, asker, kAnswerTimeoutUs,
                    Error(ErrorCode::kTimedOut, "the arbiter does not answer"));
    Answer(from, asker, back_us, std::move(value));
  });
}

// Of a life that has ended nobody but the scheduler has a copy: hence weak.
void SimPair::Answer(uint8_t to, const std::weak_ptr<const int>& life, int64_t after_us,
                     absl::StatusOr<broker::Register> value) {
  const Life asker = life.lock();
  if (asker == nullptr) return;
  world_.scheduler.After(after_us, asker,
                         [this, to, value = std::move(value)] { brokers_[to]->OnRegister(value); });
}

// A file on the broker's own disk.
void SimPair::AskOwn(uint8_t from, const Life& life, const broker::RegisterQuestion& question) {
  broker::Register value = own_[from].Read();
  if (question.swap) value = own_[from].Swap(question.expected, question.wanted);
  world_.scheduler.Trace("register asked", from, question.swap, Bits(value));
  Answer(from, life, random_.Between(0, kAnswerMaxUs), value);
}

bool SimPair::IsStale(const broker::Node& node) const {
  return arbitrated_ && register_.Read().epoch != node.role()->epoch();
}

// --- The truth ----------------------------------------------------------------------------------------------------------

void SimPair::CheckHash(Lsn lsn, uint64_t hash, const char* where) {
  auto known = hashes_.find(lsn.value());
  if (known != hashes_.end() && known->second != hash)
    world_.judge.Fail(absl::StrCat("record ", lsn.value(), " of ", where,
                                   " is another than the one that was committed"));
}

// Of records that are known already it is looked that they are the same.
void SimPair::Apply(Epoch epoch, Lsn first_lsn, uint64_t hash_before, std::string_view records) {
  std::string news;
  uint64_t hash = hash_before;
  ForEachRecord(first_lsn, records, [&](Lsn lsn, std::string_view record) {
    hash = broker::ChainHash(hash, record);
    CheckHash(lsn, hash, "a log");
    if (lsn <= this->lsn()) return;
    hashes_[lsn.value()] = hash;
    news += record;
  });
  if (news.empty() || world_.judge.failed()) return;
  if (Failed(truth_->Follow(epoch, news, {})) || !truth_->TakeBatch(truth_batch_) ||
      Failed(truth_journal_->Commit(truth_batch_)))
    return;
  truth_->OnCommitted(truth_batch_, 1, {});
  if (Failed(truth_->ReleaseCommitted())) return;
  world_.judge.Committed(truth_batch_);
}

void SimPair::Made(const Batch& batch) {
  uint64_t hash = batch.hash_before();
  ForEachRecord(batch.first_lsn(), batch.records(), [&](Lsn lsn, std::string_view record) {
    const uint64_t before = std::exchange(hash, broker::ChainHash(hash, record));
    made_[{lsn.value(), hash}] = {batch.epoch(), before, std::string(record)};
  });
}

// What lies between the truth and the record behind `before`, where the log's hash is `hash`.
bool SimPair::FillGap(Lsn before, uint64_t hash) {
  std::vector<std::pair<uint64_t, const Record*>> missing;
  for (uint64_t at = before.value(); at > lsn().value(); --at) {
    auto record = made_.find({at, hash});
    if (record == made_.end()) {
      world_.judge.Fail(absl::StrCat("nobody has decided record ", at, " as a log has it"));
      return false;
    }
    missing.emplace_back(at, &record->second);
    hash = record->second.hash_before;
  }
  for (; !missing.empty() && !world_.judge.failed(); missing.pop_back()) {
    const auto& [at, record] = missing.back();
    Apply(record->epoch, Lsn(at), record->hash_before, record->bytes);
  }
  return !world_.judge.failed();
}

// A log that began with a copy lacks what came before: that was decided by somebody.
void SimPair::TakeLine(broker::JournalView& view) {
  Failed(view.ScanLog(view.Bounds()->first, [&](const LogSegment& segment) {
    if (segment.first_lsn > Next(lsn()) &&
        !FillGap(Lsn(segment.first_lsn.value() - 1), segment.hash_before))
      return false;
    uint64_t hash = segment.hash_before;
    ForEachRecord(segment.first_lsn, segment.records, [&](Lsn lsn, std::string_view record) {
      Apply(segment.epoch, lsn, hash, record);
      hash = broker::ChainHash(hash, record);
    });
    return !world_.judge.failed();
  }));
}

bool SimPair::NoteCommitter(uint8_t node, Epoch epoch) {
  const auto [committer, first] = committers_.emplace(epoch, node);
  if (committer->second == node) return true;
  world_.judge.Fail(absl::StrCat("two brokers commit in epoch ", epoch.value()));
  return false;
}

void SimPair::Serves(uint8_t node, Epoch epoch, broker::JournalView& view) {
  if (!arbitrated_) return;
  const broker::LogBounds bounds = *view.Bounds();
  if (bounds.last < lsn())
    return world_.judge.Fail(absl::StrCat("broker ", node, " serves in epoch ", epoch.value(),
                                          " with a log that ends at ", bounds.last.value(),
                                          ", and record ", lsn().value(), " was committed"));
  // From the last one on that is known, which must be the same.
  const Lsn from = std::max(lsn(), bounds.first);
  Failed(view.ScanLog(from, [&](const LogSegment& segment) {
    if (segment.first_lsn > Next(lsn()) &&
        !FillGap(Lsn(segment.first_lsn.value() - 1), segment.hash_before))
      return false;
    Apply(segment.epoch, segment.first_lsn, segment.hash_before, segment.records);
    return !world_.judge.failed();
  }));
}

void SimPair::Committed(uint8_t node, const Batch& batch) {
  if (!NoteCommitter(node, batch.epoch())) return;
  if (!arbitrated_) return;
  if (batch.first_lsn() > Next(lsn()))
    return world_.judge.Fail(
        absl::StrCat("records before ", batch.first_lsn().value(), " were never committed"));
  Apply(batch.epoch(), batch.first_lsn(), batch.hash_before(), batch.records());
}

}  // namespace zsched::sim
