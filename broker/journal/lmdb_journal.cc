// The journal on disk: data directory, environment, writer and views put together.
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "base/check.h"
#include "broker/journal/codec.h"
#include "broker/journal/data_directory.h"
#include "broker/journal/journal.h"
#include "broker/journal/lmdb_env.h"
#include "broker/journal/lmdb_view.h"
#include "broker/journal/lmdb_writer.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

// LMDB turns a short write into EIO; with less than this left on the disk, that is a full disk.
constexpr uint64_t kDiskFullBytes = 1 << 20;

// More than LMDB writes when it makes the databases, and less than a journal that was in use: an
// invalid file of more pages has lost its FORMAT, and is left to people.
constexpr uint64_t kUnfinishedPages = 16;

class LmdbJournal final : public Journal {
 public:
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const LmdbOptions& options) {
    ZS_ASSIGN_OR_RETURN(DataDirectory directory, DataDirectory::Open(options.directory));
    std::unique_ptr<LmdbJournal> journal(new LmdbJournal(std::move(directory)));
    const std::string redo_path = options.directory + "/" + kRedoFileName;
    auto redo =
        journal->directory_.is_new() ? RedoFile::Create(redo_path) : RedoFile::Open(redo_path);
    if (!redo.ok()) return journal->Explain(redo.status());
    journal->redo_ = *std::move(redo);
    // After redo: OpenEnv may make data.mdb anew, and must not where there are commits.
    ZS_ASSIGN_OR_RETURN(journal->env_, OpenEnv(journal->directory_, options.map_bytes));
    auto writer = LmdbWriter::Open(*journal->env_, *journal->redo_, options.keep_log_bytes);
    if (!writer.ok()) return journal->Explain(writer.status());
    journal->writer_ = *std::move(writer);
    journal->views_ = std::make_unique<LmdbViewPool>(*journal->env_);
    journal->views_->Publish(journal->writer_->txn_id(), journal->writer_->layers());
    if (journal->directory_.is_new()) ZS_RETURN_IF_ERROR(journal->directory_.FinishCreation());
    return journal;
  }

  absl::Status Commit(Batch& batch) override {
    if (!failure_.ok()) return PoisonedBy(failure_);
    absl::Status status = writer_->Commit(batch);
    if (status.ok()) {
      views_->Publish(writer_->txn_id(), writer_->layers());
      return status;
    }
    views_->Poison();
    return failure_ = Explain(std::move(status));
  }

  uint64_t last_flush_us() const override { return writer_->flush_us(); }

  absl::StatusOr<std::unique_ptr<JournalView>> View() override { return views_->View(); }

  void HoldLog(Lsn from) override { writer_->HoldLog(from); }

  absl::StatusOr<JournalUsage> Usage() override {
    ZS_ASSIGN_OR_RETURN(uint64_t disk_free_bytes, directory_.FreeBytes());
    ZS_ASSIGN_OR_RETURN(std::unique_ptr<LmdbReader> reader, views_->Take());
    JournalUsage usage = env_->Usage(reader->txn());
    views_->GiveBack(std::move(reader));
    usage.disk_free_bytes = disk_free_bytes;
    return usage;
  }

 private:
  explicit LmdbJournal(DataDirectory directory) : directory_(std::move(directory)) {}

  // As LmdbEnv::Open, but a first start that power cut off is no loss: without FORMAT nothing was ever accepted, so what
  // there is of data.mdb is made anew.
  static absl::StatusOr<std::unique_ptr<LmdbEnv>> OpenEnv(const DataDirectory& directory,
                                                          uint64_t map_bytes) {
    auto env = LmdbEnv::Open(directory, map_bytes);
    if (!directory.is_new() || CodeOf(env.status()) != ErrorCode::kDataLoss) return env;
    ZS_ASSIGN_OR_RETURN(uint64_t file_bytes, directory.DataFileBytes());
    if (file_bytes > kUnfinishedPages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE))) return env;
    ZS_RETURN_IF_ERROR(directory.ResizeDataFile(0));
    return LmdbEnv::Open(directory, map_bytes);
  }

  absl::Status Explain(absl::Status status) const {
    std::string text = "data directory " + directory_.path() + ": " + MessageOf(status);
    auto free_bytes = directory_.FreeBytes();
    if (CodeOf(status) == ErrorCode::kInternal && free_bytes.ok() && *free_bytes < kDiskFullBytes)
      return Error(ErrorCode::kResourceExhausted, text + "; the disk is full");
    return Error(CodeOf(status), text);
  }

  // Destroyed from the last to the first: views, then the environment, then the lock.
  DataDirectory directory_;
  std::unique_ptr<LmdbEnv> env_;
  std::unique_ptr<RedoFile> redo_;
  std::unique_ptr<LmdbWriter> writer_;
  std::unique_ptr<LmdbViewPool> views_;
  absl::Status failure_;  // of the first commit that failed
};

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> OpenLmdbJournal(const LmdbOptions& options) {
  return LmdbJournal::Open(options);
}

}  // namespace zsched::broker
