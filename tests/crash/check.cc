#include "tests/crash/check.h"

#include <filesystem>
#include <utility>

#include "base/check.h"
#include "schemas/errors.h"
#include "tests/support/recover.h"

namespace zsched::crash {
namespace {

namespace fs = std::filesystem;
using broker::Journal;
using broker::JournalView;
using broker::Table;

// Enough commits to take pages that recovery believes to be free: LMDB waits two before it uses them.
constexpr uint64_t kCommitsAfterwards = 4;
// One row in overflow pages, so that longer runs of free pages are taken too.
constexpr size_t kLargeRowBytes = 20'000;

absl::Status Wrong(const std::string& what) { return Error(ErrorCode::kInternal, what); }

std::string Describe(const Contents& contents) {
  return "LSN " + std::to_string(contents.first_lsn) + ".." + std::to_string(contents.last_lsn) +
         ", log " + std::to_string(contents.log) + ", rows " + std::to_string(contents.rows);
}

absl::StatusOr<size_t> FindState(const Contents& found, const ImageCheck& check) {
  const auto& states = check.life->states;
  for (size_t i = check.acknowledged; i <= check.begun; ++i)
    if (found == states[i].contents) return i;
  std::string known = "no commit left";
  for (size_t i = 0; i < states.size(); ++i)
    if (found == states[i].contents) known = "this is state " + std::to_string(i) + " with";
  return Wrong("acknowledged: state " + std::to_string(check.acknowledged) + " with " +
               Describe(states[check.acknowledged].contents) + "; newest begun: " +
               std::to_string(check.begun) + "; " + known + " " + Describe(found));
}

absl::Status CheckRebuilt(JournalView& view, uint64_t fingerprint, Found& found) {
  broker::State rebuilt;
  ZS_RETURN_IF_ERROR(Rebuild(view, rebuilt));
  if (HashFingerprint(rebuilt) != fingerprint) return Wrong("the rebuilt state is another one");
  ZS_ASSIGN_OR_RETURN(broker::LogBounds bounds, view.Bounds());
  if (bounds.first != Lsn(1)) return absl::OkStatus();  // trimmed
  broker::State replayed;
  ZS_RETURN_IF_ERROR(Replay(view, replayed));
  if (HashFingerprint(replayed) != fingerprint) return Wrong("the replayed state is another one");
  found.replayed = true;
  return absl::OkStatus();
}

// What recovery took for free must be free: new commits change nothing but what they write.
absl::Status GoOn(Journal& journal) {
  ZS_ASSIGN_OR_RETURN(auto before, journal.View());
  Ledger ledger(*before);
  ZS_ASSIGN_OR_RETURN(broker::LogBounds bounds, before->Bounds());
  before.reset();
  uint64_t lsn = bounds.last.value() + 1;
  for (uint64_t i = 0; i < kCommitsAfterwards; ++i, ++lsn) {
    broker::Batch batch;
    batch.Begin(Epoch(1), Lsn(lsn));
    batch.AppendRecord(std::string(100, 'r'));
    batch.Put(Table::kMeta, UINT64_MAX - 1, std::to_string(i));
    batch.Put(Table::kOutcomes, UINT64_MAX - 1 - i, std::string(kLargeRowBytes * i, 'o'));
    ledger.Apply(batch);
    ZS_RETURN_IF_ERROR(journal.Commit(batch));
    ZS_ASSIGN_OR_RETURN(auto view, journal.View());
    ZS_ASSIGN_OR_RETURN(Contents now, ReadContents(*view));
    if (now != ledger.ContentsFrom(now.first_lsn))
      return Wrong("a commit after recovery changed what was there before");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Found> CheckImage(const std::string& root, const ImageCheck& check) {
  Found found;
  std::error_code ignored;
  const std::string directory = JournalDirectory(root);
  found.had_format = fs::exists(directory + "/FORMAT");
  const uint64_t file_bytes = fs::exists(directory + "/data.mdb", ignored)
                                  ? fs::file_size(directory + "/data.mdb", ignored)
                                  : UINT64_MAX;
  ZS_ASSIGN_OR_RETURN(auto journal,
                      broker::OpenLmdbJournal(JournalOptions(root, check.life->options)));
  ZS_ASSIGN_OR_RETURN(broker::JournalUsage usage, journal->Usage());
  found.short_file = found.had_format && file_bytes < usage.used_bytes;
  ZS_ASSIGN_OR_RETURN(auto view, journal->View());
  ZS_ASSIGN_OR_RETURN(Contents contents, ReadContents(*view));
  ZS_ASSIGN_OR_RETURN(found.state, FindState(contents, check));
  ZS_RETURN_IF_ERROR(CheckRebuilt(*view, check.life->states[found.state].fingerprint, found));
  view.reset();
  if (check.go_on) ZS_RETURN_IF_ERROR(GoOn(*journal));
  return found;
}

}  // namespace zsched::crash
