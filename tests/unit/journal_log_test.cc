// The log in a journal, read in parts from any record on, with the hash before it.
#include "broker/server/journal_log.h"

#include <gtest/gtest.h>

#include "broker/core/record.h"

namespace zsched::broker {
namespace {

std::string RecordOf(size_t bytes, char fill) {
  RecordHead head;
  head.bytes = static_cast<uint32_t>(sizeof head + bytes);
  std::string record;
  AppendStruct(record, head);
  return record + std::string(bytes, fill);
}

class JournalLogTest : public testing::Test {
 protected:
  // Batches of `records` each; the second half of them is of a later epoch.
  void Fill(int batches, int records, size_t bytes) {
    Batch batch;
    uint64_t hash = 0;
    for (int b = 0; b < batches; ++b) {
      batch.Begin(Epoch(b < batches / 2 ? 4 : 8), Lsn(hashes_.size()), hash);
      for (int r = 0; r < records; ++r) {
        batch.AppendRecord(RecordOf(bytes, static_cast<char>('a' + hashes_.size() % 26)));
        hashes_.push_back(batch.hash());
      }
      hash = batch.hash();
      batch.Put(Table::kMeta, 0, "row");
      ASSERT_TRUE(journal_->Commit(batch).ok());
    }
  }

  std::unique_ptr<Journal> journal_ = OpenMemoryJournal(MakeMemoryDisk());
  JournalLog log_{*journal_};
  std::vector<uint64_t> hashes_{0};  // behind each LSN
};

TEST_F(JournalLogTest, AnEmptyLogHasNothing) {
  EXPECT_EQ(*log_.HashAt(Lsn(1)), std::nullopt);
  EXPECT_FALSE(log_.Read(Lsn(1), 1000)->has_value());
}

TEST_F(JournalLogTest, HashesAreThoseOfTheBatches) {
  Fill(6, 5, 7'000);  // several segments a batch
  for (uint64_t lsn = 1; lsn < hashes_.size(); ++lsn)
    EXPECT_EQ(*log_.HashAt(Lsn(lsn)), hashes_[lsn]) << lsn;
  EXPECT_EQ(*log_.HashAt(Lsn(hashes_.size())), std::nullopt);
}

TEST_F(JournalLogTest, PartsContinueEachOtherFromAnyRecordOn) {
  Fill(6, 5, 7'000);
  for (size_t most : {1, 10'000, 30'000, 10'000'000})
    for (uint64_t from = 1; from < hashes_.size(); ++from)
      for (uint64_t next = from; next < hashes_.size();) {
        auto part = log_.Read(Lsn(next), most);
        ASSERT_TRUE(part.ok() && part->has_value());
        EXPECT_EQ((*part)->first_lsn, Lsn(next));
        EXPECT_EQ((*part)->hash_before, hashes_[next - 1]);
        EXPECT_EQ((*part)->epoch, Epoch(next <= 15 ? 4 : 8));
        EXPECT_EQ((*part)->records.size(), (*part)->count * (sizeof(RecordHead) + 7'000));
        EXPECT_TRUE((*part)->count == 1 || (*part)->records.size() <= most);
        uint64_t hash = (*part)->hash_before;
        for (size_t i = 0; i < (*part)->count; ++i)
          hash = ChainHash(hash, (*part)->records.substr(i * (sizeof(RecordHead) + 7'000),
                                                         sizeof(RecordHead) + 7'000));
        next += (*part)->count;
        EXPECT_EQ(hash, hashes_[next - 1]);
      }
}

}  // namespace
}  // namespace zsched::broker
