// The log in the journal, as a leader reads it for a follower that is behind. Owned by broker/server, which composes the two.
//
// Example:
//   JournalLog log(journal);
//   Leader leader(log, sink);
//
// Threads: one owner. Each call looks at the journal as it is then; a part is copied, so nothing is pinned between calls.
#pragma once

#include <string>

#include "broker/journal/journal.h"
#include "broker/replication/leader.h"

namespace zsched::broker {

class JournalLog final : public LogReader {
 public:
  explicit JournalLog(Journal& journal) : journal_(journal) {}

  // Both cost the segment that has the record, not the log. DATA_LOSS: the log on disk is damaged.
  absl::StatusOr<std::optional<uint64_t>> HashAt(Lsn lsn) override;
  absl::StatusOr<std::optional<LogPart>> Read(Lsn from, size_t max_bytes) override;

 private:
  Journal& journal_;
  std::string records_;  // of the last part
};

}  // namespace zsched::broker
