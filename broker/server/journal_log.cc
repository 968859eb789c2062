#include "broker/server/journal_log.h"

#include "broker/core/record.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

absl::Status Damaged(Lsn lsn) {
  return Error(ErrorCode::kDataLoss,
               "log record " + std::to_string(lsn.value()) + " cannot be read; restore a backup");
}

// Goes through the records of a segment with the log's hash behind each.
class Walk {
 public:
  explicit Walk(const LogSegment& segment)
      : rest_(segment.records), lsn_(segment.first_lsn.value() - 1), hash_(segment.hash_before) {}

  // To the next record. False: it is cut off.
  bool Step() {
    RecordHead head;
    if (RowReader in(rest_);
        !in.Read(head) || head.bytes < sizeof head || head.bytes > rest_.size())
      return false;
    record_ = rest_.substr(0, head.bytes);
    rest_.remove_prefix(head.bytes);
    hash_ = ChainHash(hash_, record_);
    ++lsn_;
    return true;
  }
  Lsn lsn() const { return Lsn(lsn_); }
  uint64_t hash() const { return hash_; }
  std::string_view record() const { return record_; }
  bool done() const { return rest_.empty(); }

 private:
  std::string_view rest_, record_;
  uint64_t lsn_;
  uint64_t hash_;
};

}  // namespace

absl::StatusOr<std::optional<uint64_t>> JournalLog::HashAt(Lsn lsn) {
  ZS_ASSIGN_OR_RETURN(const std::unique_ptr<JournalView> view, journal_.View());
  std::optional<uint64_t> hash;
  absl::Status damaged;
  ZS_RETURN_IF_ERROR(view->ScanLog(lsn, [&](const LogSegment& segment) {
    if (segment.first_lsn == Next(lsn)) hash = segment.hash_before;
    if (segment.first_lsn > lsn) return false;  // it is not kept
    for (Walk walk(segment); walk.lsn() < lsn;) {
      if (!walk.Step()) {
        damaged = Damaged(lsn);
        return false;
      }
      if (walk.lsn() == lsn) hash = walk.hash();
    }
    return false;
  }));
  ZS_RETURN_IF_ERROR(damaged);
  return hash;
}

absl::StatusOr<std::optional<LogPart>> JournalLog::Read(Lsn from, size_t max_bytes) {
  ZS_ASSIGN_OR_RETURN(const std::unique_ptr<JournalView> view, journal_.View());
  records_.clear();
  LogPart part;
  absl::Status damaged;
  auto take = [&](const LogSegment& segment) {
    if (part.count == 0 && segment.first_lsn > from) return false;  // it is not kept
    if (part.count > 0 && segment.epoch != part.epoch) return false;
    part.epoch = segment.epoch;
    for (Walk walk(segment); !walk.done();) {
      const uint64_t before = walk.hash();
      if (!walk.Step()) {
        damaged = Damaged(from);
        return false;
      }
      if (walk.lsn() < from) continue;
      if (part.count > 0 && records_.size() + walk.record().size() > max_bytes) return false;
      if (part.count == 0) {
        part.first_lsn = walk.lsn();
        part.hash_before = before;
      }
      records_ += walk.record();
      ++part.count;
    }
    return records_.size() < max_bytes;
  };
  ZS_RETURN_IF_ERROR(view->ScanLog(from, take));
  ZS_RETURN_IF_ERROR(damaged);
  if (part.count == 0) return std::optional<LogPart>();
  part.records = records_;
  return std::optional<LogPart>(part);
}

absl::StatusOr<std::unique_ptr<SnapshotReader>> JournalSnapshot::Take(Journal& journal) {
  ZS_ASSIGN_OR_RETURN(std::unique_ptr<JournalView> view, journal.View());
  return std::unique_ptr<SnapshotReader>(new JournalSnapshot(std::move(view)));
}

absl::StatusOr<LogPart> JournalSnapshot::Tail() {
  ZS_ASSIGN_OR_RETURN(const LogBounds bounds, view_->Bounds());
  LogPart tail;
  ZS_RETURN_IF_ERROR(view_->ScanLog(bounds.last, [&](const LogSegment& segment) {
    records_ = segment.records;
    tail = {.epoch = segment.epoch,
            .first_lsn = segment.first_lsn,
            .count = segment.count,
            .hash_before = segment.hash_before,
            .records = records_};
    return false;
  }));
  if (tail.count == 0) return Damaged(bounds.last);
  return tail;
}

}  // namespace zsched::broker
