// A journal read back into a State, from its tables and from its log: what recovery must agree on.
// Owned by the tests.
//
// Example:
//   State rebuilt, replayed;
//   ZS_CHECK_OK(Rebuild(view, rebuilt));
//   ZS_CHECK_OK(Replay(view, replayed));          // when the log was never trimmed
//   EXPECT_EQ(rebuilt.Fingerprint(), replayed.Fingerprint());
//
// Threads: any, one view and one state each. Errors: DATA_LOSS, as the journal and State::Apply
// give it.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "broker/core/state.h"
#include "broker/journal/journal.h"
#include "schemas/errors.h"

namespace zsched::broker {

// Fills an empty state from the tables.
inline absl::Status Rebuild(JournalView& view, State& state) {
  return state.Rebuild([&](Table table, const auto& visit) {
    absl::Status inner;
    absl::Status outer = view.Scan(table, 0, [&](uint64_t key, std::string_view row) {
      inner = visit(key, row);
      return inner.ok();
    });
    return outer.ok() ? inner : outer;
  });
}

// Fills an empty state from the log. Requires that its first record is still there.
inline absl::Status Replay(JournalView& view, State& state) {
  Batch batch;  // takes the rows that each record means; nobody reads them
  absl::Status status;
  absl::Status scanned = view.ScanLog(Lsn(1), [&](const LogSegment& segment) {
    batch.Begin(segment.epoch, segment.first_lsn);
    std::string_view rest = segment.records;
    for (uint32_t i = 0; i < segment.count && status.ok(); ++i) {
      RecordHead head;
      if (!RowReader(rest).Read(head) || head.bytes > rest.size())
        status = Error(ErrorCode::kDataLoss, "a record of the log is cut off");
      else
        status = state.Apply(batch, rest.substr(0, head.bytes));
      if (status.ok()) rest.remove_prefix(head.bytes);
    }
    if (status.ok()) state.FlushRows(batch);
    return status.ok();
  });
  return scanned.ok() ? status : scanned;
}

}  // namespace zsched::broker
