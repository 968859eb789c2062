// A standby without a network: it takes another core's log from its journal. Owned by the tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "broker/core/core.h"
#include "broker/journal/journal.h"

namespace zsched::broker {

// A core that follows the log of another, with a journal of its own.
class Standby {
 public:
  explicit Standby(std::shared_ptr<MemoryDisk> disk = MakeMemoryDisk())
      : journal(OpenMemoryJournal(std::move(disk))), core(std::make_unique<Core>(Config())) {}
  static CoreConfig Config() {
    return {.keep_finished = 20, .max_dead = 10, .keep_dead_ms = 20'000, .keep_keys_ms = 5'000};
  }
  // Whatever it has not got yet, some segments at a time.
  void CatchUp(Journal& active, size_t segments_a_batch = 3) {
    auto view = active.View();
    ASSERT_TRUE(view.ok());
    size_t open = 0;
    auto follow = [&](const LogSegment& segment) {
      if (segment.first_lsn <= core->appended()) return true;
      if (open >= segments_a_batch || core->open_epoch() != segment.epoch) Commit(), open = 0;
      EXPECT_EQ(core->appended_hash(), segment.hash_before) << "one log, one hash";
      const absl::Status status = core->Follow(segment.epoch, segment.records);
      EXPECT_TRUE(status.ok()) << status;
      ++open;
      return status.ok();
    };
    ASSERT_TRUE((*view)->ScanLog(Next(core->appended()), follow).ok());
    Commit();
  }
  void Commit() {
    if (!core->HasRecords()) return;
    core->TakeBatch(batch_);
    ASSERT_TRUE(journal->Commit(batch_).ok());
  }

  std::unique_ptr<Journal> journal;
  std::unique_ptr<Core> core;

 private:
  Batch batch_;
};

}  // namespace zsched::broker
