// The one suite that every Journal passes.
#include "broker/journal/journal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "base/check.h"
#include "broker/journal/codec.h"
#include "broker/journal/memory_journal.h"
#include "tests/conformance/journal_fixture.h"

namespace zsched::broker {
namespace {

// One implementation's storage: outlives the journals opened on it.
class Store {
 public:
  virtual ~Store() = default;
  virtual std::unique_ptr<Journal> Open() = 0;
};

class LmdbStore final : public Store {
 public:
  std::unique_ptr<Journal> Open() override {
    return OpenOrDie({.directory = directory_.path(), .map_bytes = uint64_t{1} << 30});
  }

 private:
  ScratchDirectory directory_;
};

class MemoryStore final : public Store {
 public:
  std::unique_ptr<Journal> Open() override { return OpenMemoryJournal(disk_); }

 private:
  std::shared_ptr<MemoryDisk> disk_ = MakeMemoryDisk();
};

template <class S>
class JournalTest : public testing::Test {
 protected:
  JournalTest() { journal_ = store_.Open(); }
  void Reopen() {
    journal_.reset();
    journal_ = store_.Open();
  }

  S store_;
  std::unique_ptr<Journal> journal_;
};

struct StoreNames {
  template <class S>
  static std::string GetName(int) {
    return std::is_same_v<S, LmdbStore> ? "Lmdb" : "Memory";
  }
};
using Stores = testing::Types<LmdbStore, MemoryStore>;
TYPED_TEST_SUITE(JournalTest, Stores, StoreNames);

TYPED_TEST(JournalTest, BeginsEmpty) {
  EXPECT_EQ(BoundsOf(*this->journal_), std::make_pair(uint64_t{0}, uint64_t{0}));
  EXPECT_TRUE(LogOf(*this->journal_).empty());
  for (size_t table = 0; table < kTables; ++table) {
    EXPECT_TRUE(RowsOf(*this->journal_, static_cast<Table>(table)).empty());
    EXPECT_EQ(RowOf(*this->journal_, static_cast<Table>(table), 1), std::nullopt);
  }
}

TYPED_TEST(JournalTest, KeepsRowsAndRecordsOfABatchOverReopening) {
  ASSERT_TRUE(Filler(4, 1)
                  .Record("submit")
                  .Record("grant")
                  .Put(Table::kSpecs, 7, "spec")
                  .Put(Table::kTasks, 7, "ready")
                  .Put(Table::kMeta, 0, "")
                  .Put(Table::kProducers, UINT64_MAX, "last key")
                  .CommitTo(*this->journal_)
                  .ok());
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(RowOf(*this->journal_, Table::kSpecs, 7), "spec");
    EXPECT_EQ(RowOf(*this->journal_, Table::kTasks, 7), "ready");
    EXPECT_EQ(RowOf(*this->journal_, Table::kMeta, 0), "");
    EXPECT_EQ(RowOf(*this->journal_, Table::kProducers, UINT64_MAX), "last key");
    EXPECT_EQ(RowOf(*this->journal_, Table::kOutcomes, 7), std::nullopt);
    EXPECT_EQ(BoundsOf(*this->journal_), std::make_pair(uint64_t{1}, uint64_t{2}));
    std::vector<Segment> log = LogOf(*this->journal_);
    ASSERT_EQ(log.size(), 1u);
    EXPECT_EQ(log[0].first_lsn, 1u);
    EXPECT_EQ(log[0].count, 2u);
    EXPECT_EQ(log[0].epoch, 4u);
    EXPECT_EQ(log[0].records, "submitgrant");
    this->Reopen();
  }
}

// Small and large batches, which go to the disk in different ways.
TYPED_TEST(JournalTest, KeepsTheLogsHashBeforeEachSegment) {
  uint64_t lsn = 1, hash = 0;
  std::map<uint64_t, uint64_t> before;
  for (const size_t bytes : {10, 20, 300'000, 30, 2'000'000, 40}) {
    Batch batch;
    batch.Begin(Epoch(4), Lsn(lsn), hash);
    before[lsn] = hash;
    batch.AppendRecord("first");
    batch.AppendRecord(std::string(bytes, 'x'));
    lsn += 2;
    hash = batch.hash();
    ASSERT_TRUE(this->journal_->Commit(batch).ok());
  }
  for (int round = 0; round < 2; ++round) {
    size_t known = 0;
    uint64_t walked = 0;
    ASSERT_TRUE(
        ViewOf(*this->journal_)
            ->ScanLog(Lsn(1),
                      [&](const LogSegment& segment) {
                        auto it = before.find(segment.first_lsn.value());
                        if (it != before.end()) {
                          EXPECT_EQ(segment.hash_before, it->second)
                              << "record " << it->first << ", round " << round;
                          ++known;
                        }
                        EXPECT_TRUE(segment.first_lsn.value() == 1 || segment.hash_before != walked)
                            << "each record changes it";
                        walked = segment.hash_before;
                        return true;
                      })
            .ok());
    EXPECT_EQ(known, before.size());
    this->Reopen();
  }
}

TYPED_TEST(JournalTest, TheLastMutationOfAKeyWinsWithinABatch) {
  ASSERT_TRUE(Filler(1, 1)
                  .Put(Table::kTasks, 5, "first")
                  .Put(Table::kTasks, 3, "gone")
                  .Put(Table::kTasks, 5, "second, longer")
                  .Erase(Table::kTasks, 3)
                  .Erase(Table::kTasks, 4)
                  .Put(Table::kTasks, 4, "back")
                  .Put(Table::kTasks, 5, "third")
                  .CommitTo(*this->journal_)
                  .ok());
  EXPECT_EQ(RowsOf(*this->journal_, Table::kTasks), (Rows{{4, "back"}, {5, "third"}}));
}

// Once among small commits, once with one that is too large for the redo file.
TYPED_TEST(JournalTest, AnErasedRangeTakesWhatWasThereAndNotWhatComesLater) {
  for (uint64_t lsn : {1, 3}) {
    const std::string record(lsn == 1 ? 10 : kMaxSegmentBytes, 'r');
    Filler rows(1, lsn);
    for (uint64_t key = 1; key <= 100; ++key) rows.Put(Table::kTasks, key, "old");
    ASSERT_TRUE(rows.Record(record).CommitTo(*this->journal_).ok());
    ASSERT_TRUE(Filler(1, lsn + 1)
                    .Record(record)
                    .Put(Table::kTasks, 20, "gone")
                    .Put(Table::kTasks, 60, "outside")
                    .EraseRange(Table::kTasks, 61, 80)
                    .EraseRange(Table::kTasks, 10, 50)
                    .Put(Table::kTasks, 30, "behind both")
                    .Put(Table::kTasks, 90, "gone, and again")
                    .EraseRange(Table::kTasks, 81, 95)
                    .EraseRange(Table::kTasks, 94, 96)
                    .Put(Table::kTasks, 94, "last")
                    .EraseRange(Table::kTasks, 200, UINT64_MAX)
                    .CommitTo(*this->journal_)
                    .ok());
    Rows expected;
    for (uint64_t key = 1; key <= 100; ++key)
      if (key < 10 || (key > 50 && key <= 60) || key > 96) expected[key] = "old";
    expected[60] = "outside", expected[30] = "behind both", expected[94] = "last";
    EXPECT_EQ(RowsOf(*this->journal_, Table::kTasks), expected);
    this->Reopen();
    EXPECT_EQ(RowsOf(*this->journal_, Table::kTasks), expected);
  }
}

TYPED_TEST(JournalTest, RowsAreOverwrittenAndErasedAcrossBatches) {
  ASSERT_TRUE(Filler(1, 1)
                  .Put(Table::kTasks, 1, "one")
                  .Put(Table::kTasks, 2, "two")
                  .Put(Table::kTasks, 3, "three")
                  .CommitTo(*this->journal_)
                  .ok());
  ASSERT_TRUE(Filler(1, 1)
                  .Erase(Table::kTasks, 3)
                  .Erase(Table::kTasks, 99)
                  .Put(Table::kTasks, 1, "a longer one")
                  .CommitTo(*this->journal_)
                  .ok());
  EXPECT_EQ(RowsOf(*this->journal_, Table::kTasks), (Rows{{1, "a longer one"}, {2, "two"}}));
  // A key under the highest ever used, which is gone.
  ASSERT_TRUE(Filler(1, 1).Put(Table::kTasks, 3, "again").CommitTo(*this->journal_).ok());
  EXPECT_EQ(RowOf(*this->journal_, Table::kTasks, 3), "again");
}

TYPED_TEST(JournalTest, ScanBeginsAtTheKeyAndStopsWhenToldTo) {
  Filler filler(1, 1);
  for (uint64_t key : {10, 20, 30, 40}) filler.Put(Table::kLanes, key, std::to_string(key));
  ASSERT_TRUE(filler.CommitTo(*this->journal_).ok());
  EXPECT_EQ(RowsOf(*this->journal_, Table::kLanes, 20), (Rows{{20, "20"}, {30, "30"}, {40, "40"}}));
  EXPECT_EQ(RowsOf(*this->journal_, Table::kLanes, 31), (Rows{{40, "40"}}));
  EXPECT_TRUE(RowsOf(*this->journal_, Table::kLanes, 41).empty());
  int seen = 0;
  ASSERT_TRUE(ViewOf(*this->journal_)
                  ->Scan(Table::kLanes, 0, [&](uint64_t, std::string_view) { return ++seen < 2; })
                  .ok());
  EXPECT_EQ(seen, 2);
}

TYPED_TEST(JournalTest, AScanBackSeesTheSameRowsFromTheOtherEnd) {
  // Several blocks; of which some rows were rewritten, erased and added by later, small commits.
  Filler filler(1, 1);
  for (uint64_t key = 10; key <= 20'000; key += 10)
    filler.Put(Table::kLanes, key, std::to_string(key));
  ASSERT_TRUE(filler.CommitTo(*this->journal_).ok());
  const std::vector<uint64_t> changed = {10, 15, 5000, 5005, 12'340, 20'000, 20'001};
  for (size_t i = 0; i < changed.size(); ++i)
    ASSERT_TRUE(Filler(1, 1)
                    .Put(Table::kLanes, changed[i], "changed")
                    .Erase(Table::kLanes, changed[i] / 10 * 10 + 30)
                    .CommitTo(*this->journal_)
                    .ok());
  auto view = ViewOf(*this->journal_);
  for (uint64_t to : {UINT64_MAX, uint64_t{20'001}, uint64_t{20'000}, uint64_t{12'339},
                      uint64_t{5005}, uint64_t{15}, uint64_t{10}, uint64_t{9}, uint64_t{0}}) {
    std::vector<std::pair<uint64_t, std::string>> forward, back;
    ASSERT_TRUE(view->Scan(Table::kLanes, 0,
                           [&](uint64_t key, std::string_view row) {
                             if (key <= to) forward.emplace_back(key, row);
                             return key <= to;
                           })
                    .ok());
    ASSERT_TRUE(view->ScanBack(Table::kLanes, to,
                               [&](uint64_t key, std::string_view row) {
                                 back.emplace_back(key, row);
                                 return true;
                               })
                    .ok());
    std::reverse(back.begin(), back.end());
    EXPECT_EQ(forward, back) << to;
  }
  int seen = 0;
  ASSERT_TRUE(view->ScanBack(Table::kLanes, UINT64_MAX,
                             [&](uint64_t, std::string_view) { return ++seen < 3; })
                  .ok());
  EXPECT_EQ(seen, 3);
}

TYPED_TEST(JournalTest, AScanMayReadTheSameView) {
  ASSERT_TRUE(Filler(1, 1)
                  .Put(Table::kTasks, 1, "a")
                  .Put(Table::kTasks, 2, "b")
                  .Put(Table::kSpecs, 1, "A")
                  .Put(Table::kSpecs, 2, "B")
                  .CommitTo(*this->journal_)
                  .ok());
  auto view = ViewOf(*this->journal_);
  std::string text;
  ASSERT_TRUE(view->Scan(Table::kTasks, 0,
                         [&](uint64_t key, std::string_view row) {
                           text += std::string(row) + *RowIn(*view, Table::kSpecs, key) +
                                   *RowIn(*view, Table::kTasks, 1);
                           return true;
                         })
                  .ok());
  EXPECT_EQ(text, "aAabBa");
}

TYPED_TEST(JournalTest, LongLogIsCutIntoSegmentsAtRecordBoundaries) {
  Filler filler(9, 1);
  std::string all;
  constexpr uint64_t kRecords = 3000;
  for (uint64_t lsn = 1; lsn <= kRecords; ++lsn) {
    std::string record = "record " + std::to_string(lsn) + std::string(lsn % 200, '.');
    filler.Record(record);
    all += record;
  }
  ASSERT_TRUE(filler.CommitTo(*this->journal_).ok());
  this->Reopen();
  std::vector<Segment> log = LogOf(*this->journal_);
  EXPECT_GT(log.size(), all.size() / kMaxSegmentBytes);
  EXPECT_EQ(JoinRecords(log), all);
  uint64_t next = 1;
  for (const Segment& segment : log) {
    EXPECT_EQ(segment.first_lsn, next);
    EXPECT_LE(segment.records.size() + kSegmentHeaderBytes, kMaxSegmentBytes);
    EXPECT_TRUE(segment.records.starts_with("record " + std::to_string(next)));
    next += segment.count;
  }
  EXPECT_EQ(next, kRecords + 1);
}

TYPED_TEST(JournalTest, ScanLogBeginsWithTheSegmentThatHoldsTheLsn) {
  for (uint64_t lsn = 10; lsn < 40; lsn += 10) {
    Filler filler(1, lsn);
    for (int i = 0; i < 10; ++i) filler.Record("r");
    ASSERT_TRUE(filler.CommitTo(*this->journal_).ok());
  }
  auto first_of = [&](uint64_t from) {
    std::vector<Segment> log = LogOf(*this->journal_, from);
    return log.empty() ? 0 : log.front().first_lsn;
  };
  EXPECT_EQ(first_of(0), 10u);
  EXPECT_EQ(first_of(5), 10u);
  EXPECT_EQ(first_of(10), 10u);
  EXPECT_EQ(first_of(19), 10u);
  EXPECT_EQ(first_of(20), 20u);
  EXPECT_EQ(first_of(25), 20u);
  EXPECT_EQ(first_of(39), 30u);
  EXPECT_EQ(first_of(40), 0u);
  EXPECT_EQ(LogOf(*this->journal_, 15).size(), 3u);
  EXPECT_EQ(BoundsOf(*this->journal_), std::make_pair(uint64_t{10}, uint64_t{39}));
}

TYPED_TEST(JournalTest, ScanLogStopsWhenToldTo) {
  for (uint64_t lsn = 1; lsn <= 5; ++lsn)
    ASSERT_TRUE(Filler(1, lsn).Record("r").CommitTo(*this->journal_).ok());
  int seen = 0;
  ASSERT_TRUE(
      ViewOf(*this->journal_)->ScanLog(Lsn(2), [&](const LogSegment&) { return ++seen < 2; }).ok());
  EXPECT_EQ(seen, 2);
}

TYPED_TEST(JournalTest, LargeRecordsAndRowsComeBackWhole) {
  std::string large(1 << 20, '\0'), page(4096, 'p'), edge(kMaxSegmentBytes, 'e');
  std::mt19937_64 random(1);
  for (char& byte : large) byte = static_cast<char>(random());
  ASSERT_TRUE(Filler(1, 1)
                  .Record("small")
                  .Record(large)
                  .Record(edge)
                  .Record("small again")
                  .Put(Table::kSpecs, 1, large)
                  .Put(Table::kSpecs, 2, page)
                  .CommitTo(*this->journal_)
                  .ok());
  this->Reopen();
  EXPECT_EQ(RowOf(*this->journal_, Table::kSpecs, 1), large);
  EXPECT_EQ(RowOf(*this->journal_, Table::kSpecs, 2), page);
  EXPECT_EQ(JoinRecords(LogOf(*this->journal_)), "small" + large + edge + "small again");
  EXPECT_EQ(LogOf(*this->journal_, 2).front().records, large);
  ASSERT_TRUE(Filler(1, 5).Put(Table::kSpecs, 1, "shrunk").CommitTo(*this->journal_).ok());
  EXPECT_EQ(RowOf(*this->journal_, Table::kSpecs, 1), "shrunk");
}

TYPED_TEST(JournalTest, AViewDoesNotSeeLaterCommits) {
  ASSERT_TRUE(Filler(1, 1).Record("a").Put(Table::kTasks, 1, "old").CommitTo(*this->journal_).ok());
  auto before = ViewOf(*this->journal_);
  for (uint64_t i = 0; i < 50; ++i)
    ASSERT_TRUE(Filler(1, 2 + i)
                    .Record("b")
                    .Put(Table::kTasks, 1, "new")
                    .Put(Table::kTasks, 2 + i, "more")
                    .CommitTo(*this->journal_)
                    .ok());
  EXPECT_EQ(RowsIn(*before, Table::kTasks), (Rows{{1, "old"}}));
  EXPECT_EQ(before->Bounds()->last, Lsn(1));
  before.reset();
  EXPECT_EQ(RowsOf(*this->journal_, Table::kTasks).size(), 51u);
  EXPECT_EQ(BoundsOf(*this->journal_).second, 51u);
}

TYPED_TEST(JournalTest, ViewsOfOtherThreadsAreConsistentWhileCommitsGoOn) {
  constexpr uint64_t kCommits = 200;
  auto write_both = [&](uint64_t i) {
    std::string row = std::to_string(i);
    return Filler(1, i)
        .Record(row)
        .Put(Table::kTasks, 1, row)
        .Put(Table::kSpecs, 1, row)
        .CommitTo(*this->journal_);
  };
  ASSERT_TRUE(write_both(1).ok());
  std::vector<std::thread> readers;
  for (int reader = 0; reader < 3; ++reader)
    readers.emplace_back([&] {
      for (std::string last; last != std::to_string(kCommits);) {
        auto view = ViewOf(*this->journal_);
        last = *RowIn(*view, Table::kTasks, 1);
        ZS_CHECK(last == *RowIn(*view, Table::kSpecs, 1));
        ZS_CHECK(last == std::to_string(view->Bounds()->last.value()));
      }
    });
  for (uint64_t i = 2; i <= kCommits; ++i) ZS_CHECK_OK(write_both(i));
  for (std::thread& reader : readers) reader.join();
}

TYPED_TEST(JournalTest, AGapInTheLogIsRefusedAndPoisons) {
  ASSERT_TRUE(Filler(1, 7).Record("any first LSN will do").CommitTo(*this->journal_).ok());
  Filler gap(1, 9);
  gap.Record("x").Put(Table::kTasks, 1, "x");
  EXPECT_EQ(CodeOf(gap.CommitTo(*this->journal_)), ErrorCode::kInternal);
  EXPECT_FALSE(Filler(1, 8).Record("in order").CommitTo(*this->journal_).ok());
  EXPECT_EQ(RowOf(*this->journal_, Table::kTasks, 1), std::nullopt);
  this->Reopen();
  EXPECT_FALSE(Filler(1, 7).Record("again").CommitTo(*this->journal_).ok());
  this->Reopen();
  EXPECT_TRUE(Filler(1, 8).Record("in order").CommitTo(*this->journal_).ok());
  EXPECT_EQ(BoundsOf(*this->journal_), std::make_pair(uint64_t{7}, uint64_t{8}));
}

TYPED_TEST(JournalTest, ALogCannotBeginAtLsnZero) {
  EXPECT_EQ(CodeOf(Filler(1, 0).Record("x").CommitTo(*this->journal_)), ErrorCode::kInternal);
}

TYPED_TEST(JournalTest, AnEmptyBatchChangesNothing) {
  EXPECT_TRUE(Filler(1, 1).CommitTo(*this->journal_).ok());
  ASSERT_TRUE(Filler(1, 1).Record("x").CommitTo(*this->journal_).ok());
  EXPECT_TRUE(Filler(1, 2).CommitTo(*this->journal_).ok());
  EXPECT_EQ(BoundsOf(*this->journal_), std::make_pair(uint64_t{1}, uint64_t{1}));
}

TYPED_TEST(JournalTest, UsageGrowsWithWhatIsStored) {
  auto before = this->journal_->Usage();
  ASSERT_TRUE(before.ok());
  Filler filler(1, 1);
  filler.Put(Table::kSpecs, 1, std::string(500'000, 's'));
  for (int i = 0; i < 50; ++i) filler.Record(std::string(10'000, 'r'));
  ASSERT_TRUE(filler.CommitTo(*this->journal_).ok());
  auto after = this->journal_->Usage();
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->map_bytes, before->map_bytes);
  EXPECT_GE(after->log_bytes, before->log_bytes + 500'000);
  EXPECT_GE(after->used_bytes - after->free_bytes,
            before->used_bytes - before->free_bytes + 1'000'000);
  EXPECT_LT(after->used_bytes, after->map_bytes);
  EXPECT_GT(after->disk_free_bytes, 0u);
}

TYPED_TEST(JournalTest, AJournalDoesNotEndBeforeItsViews) {
  // A plain fork: nothing runs in the child but the check, and no second scratch directory is left.
  GTEST_FLAG_SET(death_test_style, "fast");
  auto view = ViewOf(*this->journal_);
  EXPECT_DEATH(this->journal_.reset(), "invariant broken");
}

// Random batches against a plain model, with reopenings.
struct Model {
  std::array<Rows, kTables> tables;
  std::string records;
  uint64_t next_lsn = 1;
};

std::string RandomBytes(std::mt19937_64& random, size_t max_size) {
  std::string bytes(random() % (max_size + 1), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// Small batches are like those of an idle broker, which a journal may treat in another way.
void FillRandomly(std::mt19937_64& random, bool small, Model& model, Filler& filler) {
  for (uint64_t n = random() % (small ? 4 : 40); n > 0; --n) {
    std::string record = RandomBytes(random, random() % 50 == 0 ? 40'000 : 300) + "|";
    filler.Record(record);
    model.records += record;
    ++model.next_lsn;
  }
  for (uint64_t n = random() % (small ? 10 : 150); n > 0; --n) {
    size_t table = random() % kTables;
    Rows& rows = model.tables[table];
    // Mostly a key just above the highest, otherwise one that may be there.
    uint64_t highest = rows.empty() ? 0 : rows.rbegin()->first;
    uint64_t key = random() % 2 ? highest + 1 + random() % 3 : random() % (highest + 2);
    if (uint64_t kind = random() % 30; kind == 0) {
      uint64_t last = key + random() % 30;
      filler.EraseRange(static_cast<Table>(table), key, last);
      rows.erase(rows.lower_bound(key), rows.upper_bound(last));
    } else if (kind <= 10) {
      filler.Erase(static_cast<Table>(table), key);
      rows.erase(key);
    } else {
      std::string row = RandomBytes(random, random() % 30 == 0 ? 9000 : 200);
      filler.Put(static_cast<Table>(table), key, row);
      rows[key] = row;
    }
  }
}

void ExpectEqual(Journal& journal, const Model& model) {
  for (size_t table = 0; table < kTables; ++table)
    ASSERT_EQ(RowsOf(journal, static_cast<Table>(table)), model.tables[table]);
  ASSERT_EQ(JoinRecords(LogOf(journal)), model.records);
  ASSERT_EQ(BoundsOf(journal).second, model.next_lsn - 1);
}

TYPED_TEST(JournalTest, BehavesAsAMapAndAListUnderRandomBatches) {
  constexpr int kBatches = 1000;
  std::mt19937_64 random(20261121);
  Model model;
  for (int i = 0; i < kBatches; ++i) {
    Filler filler(1 + i / 50, model.next_lsn);
    bool small = i / 100 % 2 == 0 || random() % 2 == 0;
    FillRandomly(random, small, model, filler);
    ASSERT_TRUE(filler.CommitTo(*this->journal_).ok());
    if (random() % 40 == 0) this->Reopen();
    if (random() % 10 == 0) {
      ASSERT_NO_FATAL_FAILURE(ExpectEqual(*this->journal_, model));
    }
  }
  this->Reopen();
  ASSERT_NO_FATAL_FAILURE(ExpectEqual(*this->journal_, model));
}

// --- What only the twin can do.
TEST(MemoryJournalTest, AFailedCommitIsOrIsNotOnTheDiskAsAskedFor) {
  auto disk = MakeMemoryDisk();
  for (bool applied : {false, true}) {
    auto journal = OpenMemoryJournal(disk);
    disk->FailNextCommit(Error(ErrorCode::kInternal, "injected"), applied);
    EXPECT_FALSE(Filler(1, 1).Record("x").Put(Table::kTasks, 1, "x").CommitTo(*journal).ok());
    EXPECT_FALSE(Filler(1, 1).Record("y").CommitTo(*journal).ok());
    journal.reset();
    journal = OpenMemoryJournal(disk);
    EXPECT_EQ(RowOf(*journal, Table::kTasks, 1).has_value(), applied);
    EXPECT_EQ(BoundsOf(*journal).second, applied ? 1u : 0u);
  }
}

TEST(MemoryJournalTest, AFullDiskRefusesAndPoisons) {
  auto disk = MakeMemoryDisk();
  disk->SetCapacityBytes(1000);
  auto journal = OpenMemoryJournal(disk);
  ASSERT_TRUE(Filler(1, 1).Put(Table::kTasks, 1, "x").CommitTo(*journal).ok());
  absl::Status full = Filler(1, 1).Put(Table::kTasks, 2, std::string(1000, 'x')).CommitTo(*journal);
  EXPECT_EQ(CodeOf(full), ErrorCode::kResourceExhausted);
  EXPECT_FALSE(Filler(1, 1).Put(Table::kTasks, 2, "y").CommitTo(*journal).ok());
  EXPECT_EQ(RowsOf(*journal, Table::kTasks), (Rows{{1, "x"}}));
}

}  // namespace
}  // namespace zsched::broker
