// Questions that the tables answer, not the core: what tasks look like, which ids are over, which
// rows a retry or the retention needs. Owned by broker/server; pure apart from the view it reads.
//
// In the broker they run on the query thread, so that a slow page of the map never holds up the
// loop; in simulation they run in place. A query waits for the LSN that was appended when it
// arrived, so it sees all that was acknowledged before.
//
//   engine ──Query──▶ query thread: RunQuery(view) ──QueryReply──▶ engine ──frames──▶ client
//
// Threads: RunQuery may run on any thread, each with its own QueryRunner.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "broker/core/core.h"
#include "broker/journal/journal.h"
#include "schemas/frame.h"
#include "schemas/ids.h"

namespace zsched::broker {

enum class QueryKind : uint8_t {
  kGet,
  kList,
  kDead,
  kOutcomes,
  kRetryRows,
  kCancelRows,
  kDeleteRows,
  kDeadOldest,
  kFinished,
  kHistory,
  kLogs,
  kEvents
};

// Of tasks that are to be changed, and are over. One is carried out at a time, in the order in which
// they came: it must see what the one before it did.
inline bool IsCommand(QueryKind kind) {
  return kind == QueryKind::kRetryRows || kind == QueryKind::kCancelRows ||
         kind == QueryKind::kDeleteRows || kind == QueryKind::kDeadOldest;
}

struct Query {
  QueryKind kind{};
  SessionId to;
  Lsn wait;
  uint64_t request = 0;
  std::vector<uint64_t> ids;      // of those that name tasks
  std::vector<uint64_t> letters;  // kRetryRows, kDeleteRows: as many as ids, or none
  // kList, kDead
  std::string queue, type, label_key, label_value;
  uint32_t states = 0;
  uint32_t limit = 0;
  bool brief = false;
  bool descending = false;
  bool omit_bodies = false;  // kList, kDead
  uint64_t cursor = 0;   // kFinished: key to read from; kLogs: offset; kEvents: LSN to begin behind
  uint16_t attempt = 0;  // kLogs; 0: the last
  // kEvents
  uint32_t skip = 0;   // events of the first record
  uint32_t kinds = 0;  // 0: all
  Lsn until;           // the last record that may be told of
  // kDead
  wire::DeadView view{};
  std::string error;  // somewhere in "CODE: message"
  uint64_t fingerprint = 0;
  int64_t died_before_ms = INT64_MAX;
  uint64_t before_letter = UINT64_MAX;
};

struct QueryReply {
  QueryKind kind{};
  SessionId to;
  uint64_t request = 0;
  std::vector<std::pair<MessageType, std::string>> frames;  // bodies to send, in order
  std::vector<Core::RowItem> rows;                          // of a command
  std::vector<FinishedEntry> finished;                      // kFinished
  std::vector<DeadEntry> dead;                              // kDeadOldest
  // kOutcomes: retried since they were asked about; to be watched.
  std::vector<uint64_t> unfinished;
  std::vector<uint64_t> rest;  // kOutcomes: not looked up, because one frame's worth is in `frames`
  absl::Status status;  // not OK: DATA_LOSS or a journal that cannot be read; the broker must end
};

class QueryRunner {
 public:
  QueryReply Run(JournalView& view, const Query& query);

 private:
  struct LaneName {
    std::string queue, type;
  };
  absl::Status Get(JournalView& view, const Query& query, QueryReply& reply);
  absl::Status List(JournalView& view, const Query& query, QueryReply& reply);
  absl::Status Dead(JournalView& view, const Query& query, QueryReply& reply);
  absl::StatusOr<bool> Matches(JournalView& view, const Query& query, const DeadRow& row);
  absl::Status DeadOldest(JournalView& view, QueryReply& reply);
  absl::Status Outcomes(JournalView& view, const Query& query, QueryReply& reply);
  absl::Status Rows(JournalView& view, const Query& query, QueryReply& reply);
  absl::Status Finished(JournalView& view, const Query& query, QueryReply& reply);
  // query_trails.cc
  absl::Status History(JournalView& view, const Query& query, QueryReply& reply);
  absl::Status Logs(JournalView& view, const Query& query, QueryReply& reply);
  // query_events.cc
  absl::Status Events(JournalView& view, const Query& query, QueryReply& reply);
  friend class EventPageBuilder;
  absl::StatusOr<const LaneName*> NameOfLane(JournalView& view, uint32_t lane);

  absl::flat_hash_map<uint32_t, LaneName> lanes_;  // those without keys: they never change
  LaneName keyed_lane_;                            // the last one that has keys
};

}  // namespace zsched::broker
