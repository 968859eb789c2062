// One unit of durability: the log records of a round and the table rows they change, committed
// together or not at all. Owned by broker/core, which fills it; broker/journal writes it;
// broker/server carries it between the two threads.
//
//   core (loop) ──fills──▶ Batch ──handed to──▶ journal thread ──Commit──▶ durable ──▶ back, refilled
//
// Bytes live in two growing buffers (records, rows) that keep their capacity over Begin(), so a
// broker under load allocates nothing here. Positions are offsets, not pointers, because the
// buffers move while they grow.
//
// Example:
//   Batch batch;
//   batch.Begin(Epoch(4), Lsn(1));
//   batch.AppendRecord(record_bytes);
//   batch.Put(Table::kTasks, id.value(), row_bytes);
//   batch.Erase(Table::kSpecs, 7);
//   batch.EraseRange(Table::kTasks, 1, 5000);
//   journal.Commit(batch);
//
// Threads: one owner at a time; handed over whole.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "schemas/ids.h"

namespace zsched::broker {

// The tables that hold the applied state. Numbers name LMDB databases and seed row checksums: never
// reused.
enum class Table : uint8_t {
  kMeta = 0,        // MetaKey → value
  kSpecs = 1,       // task id → what was submitted; immutable
  kTasks = 2,       // task id → where the task stands; rewritten on each change
  kOutcomes = 3,    // task id → result or last error
  kFinished = 4,    // LSN of the ending record → what it ended: the order of retention
  kLanes = 5,       // lane number → (queue, type, concurrency key, fairness key)
  kWorkers = 6,     // worker number → who it is
  kProducers = 7,   // producer number → client id and the submits it may ask about again
  kQueues = 8,      // number → settings of a queue that has any
  kKeys = 9,        // task id → the idempotency key that it holds
  kSchedules = 10,  // schedule number → what was set: a SCHEDULE_SET
  kTicks = 11,      // schedule number → how far it has come; rewritten on each tick
  kTypes = 12,      // number → rules of a type that has any
  kHistory = 13,    // trail number, place → how an attempt ended
  kDead = 14,       // letter → the task that died, and of what
  kOutput = 15,     // trail number, place, page → what an attempt wrote
  kNotes = 16,      // trail number, kind → the last progress, the last checkpoint
  kTrails = 17,     // task id → the number of its trail
  kFollows = 18,    // task id → templates of the tasks that follow it
  kExpiries = 19,   // task id → when its first attempt must have begun
  kEpochs = 20,     // epoch → the counters as they were when it began
  kMerges = 21,     // number → what became of what another broker did alone
};
inline constexpr size_t kTables = 22;
inline constexpr std::array<const char*, kTables> kTableNames = {
    "meta",   "specs",  "tasks",     "outcomes", "finished", "lanes",   "workers", "producers",
    "queues", "keys",   "schedules", "ticks",    "types",    "history", "dead",    "output",
    "notes",  "trails", "follows",   "expiries", "epochs",   "merges"};

struct Mutation {
  static constexpr uint32_t kErase = UINT32_MAX;
  uint64_t key = 0;
  uint32_t offset = 0;  // into rows()
  uint32_t size = 0;    // kErase: delete the row, which need not exist
};

// Rows with first <= key <= last are deleted; none of them need exist.
struct KeyRange {
  uint64_t first = 0;
  uint64_t last = 0;
  uint32_t after = 0;  // comes behind so many of the table's mutations
};

// The log's hash behind `record`, given the one before it: XXH3_64(record, seed = before). Two logs with
// the same hash at the same LSN are the same up to there (docs/ha.md).
uint64_t ChainHash(uint64_t before, std::string_view record);

class Batch {
 public:
  // Empties the batch and sets the LSN of its first record, and the log's hash before it. Capacity stays.
  void Begin(Epoch epoch, Lsn first_lsn, uint64_t hash_before = 0) {
    epoch_ = epoch;
    first_lsn_ = first_lsn;
    hash_before_ = hash_before;
    records_.clear();
    record_ends_.clear();
    record_hashes_.clear();
    rows_.clear();
    for (auto& table : mutations_) table.clear();
    for (auto& table : erased_ranges_) table.clear();
  }

  // True when there is nothing to commit.
  bool empty() const { return record_ends_.empty() && rows_.empty() && !HasMutations(); }

  Epoch epoch() const { return epoch_; }
  Lsn first_lsn() const { return first_lsn_; }
  // The LSN the next record gets.
  Lsn next_lsn() const { return Lsn(first_lsn_.value() + record_ends_.size()); }
  // Requires records() not empty.
  Lsn last_lsn() const { return Lsn(next_lsn().value() - 1); }
  size_t bytes() const { return records_.size() + rows_.size(); }
  // The log's hash before record `i` of the batch, counted from 0, and behind its last one.
  uint64_t hash_before(size_t i = 0) const { return i == 0 ? hash_before_ : record_hashes_[i - 1]; }
  uint64_t hash() const { return hash_before(record_hashes_.size()); }

  // --- Log. A record's bytes are opaque here (broker/core/record.h); each takes one LSN.
  Lsn AppendRecord(std::string_view bytes) {
    records_.append(bytes);
    return CloseRecord();
  }
  // In place: append to records() and then close. The record is everything since the last close.
  std::string& OpenRecord() { return records_; }
  Lsn CloseRecord() {
    ZS_CHECK(records_.size() < UINT32_MAX);
    const size_t begin = record_ends_.empty() ? 0 : record_ends_.back();
    record_hashes_.push_back(ChainHash(hash(), std::string_view(records_).substr(begin)));
    record_ends_.push_back(static_cast<uint32_t>(records_.size()));
    return last_lsn();
  }
  std::string_view records() const { return records_; }
  // End offsets into records(), one a record.
  const std::vector<uint32_t>& record_ends() const { return record_ends_; }

  // --- Tables. A later mutation of a key wins over an earlier one. Keys of kSpecs, kFinished
  // and kDead only ever rise when put, but for those that a merge brings.
  uint32_t Put(Table table, uint64_t key, std::string_view row) {
    uint32_t offset = static_cast<uint32_t>(rows_.size());
    rows_.append(row);
    PutTail(table, key, offset);
    return offset;
  }
  // In place: remember rows().size(), append the row to OpenRows(), then PutTail with the
  // remembered offset.
  std::string& OpenRows() { return rows_; }
  void PutTail(Table table, uint64_t key, uint32_t offset) {
    ZS_CHECK(rows_.size() < UINT32_MAX);
    mutations_[static_cast<size_t>(table)].emplace_back(
        key, offset, static_cast<uint32_t>(rows_.size()) - offset);
  }
  void Erase(Table table, uint64_t key) {
    mutations_[static_cast<size_t>(table)].emplace_back(key, 0U, Mutation::kErase);
  }
  // The same as Erase for each key from `first` to `last`, at a cost that depends on neither.
  void EraseRange(Table table, uint64_t first, uint64_t last) {
    ZS_CHECK(first <= last);
    erased_ranges_[static_cast<size_t>(table)].push_back(
        {first, last, static_cast<uint32_t>(mutations(table).size())});
  }
  std::string_view rows() const { return rows_; }
  std::string_view row(const Mutation& m) const {
    return std::string_view(rows_).substr(m.offset, m.size);
  }
  const std::vector<Mutation>& mutations(Table table) const {
    return mutations_[static_cast<size_t>(table)];
  }
  const std::vector<KeyRange>& erased_ranges(Table table) const {
    return erased_ranges_[static_cast<size_t>(table)];
  }
  // Calls on_mutation(const Mutation&) and on_range(const KeyRange&) in the order in which they count.
  template <class OnMutation, class OnRange>
  void ForEachChange(Table table, OnMutation on_mutation, OnRange on_range) const {
    const std::vector<KeyRange>& ranges = erased_ranges(table);
    size_t range = 0, done = 0;
    for (const Mutation& mutation : mutations(table)) {
      for (; range < ranges.size() && ranges[range].after <= done; ++range) on_range(ranges[range]);
      on_mutation(mutation);
      ++done;
    }
    for (; range < ranges.size(); ++range) on_range(ranges[range]);
  }
  // For the journal, which may reorder and drop changes as long as they mean the same (codec.h).
  std::vector<Mutation>& mutations(Table table) { return mutations_[static_cast<size_t>(table)]; }
  std::vector<KeyRange>& erased_ranges(Table table) {
    return erased_ranges_[static_cast<size_t>(table)];
  }

 private:
  bool HasMutations() const {
    for (size_t table = 0; table < kTables; ++table)
      if (!mutations_[table].empty() || !erased_ranges_[table].empty()) return true;
    return false;
  }

  Epoch epoch_;
  Lsn first_lsn_{1};
  std::string records_;
  std::vector<uint32_t> record_ends_;
  uint64_t hash_before_ = 0;
  std::vector<uint64_t> record_hashes_;  // the log's behind each
  std::string rows_;
  std::array<std::vector<Mutation>, kTables> mutations_;
  std::array<std::vector<KeyRange>, kTables> erased_ranges_;  // by `after`
};

}  // namespace zsched::broker
