// The journal on disk: one durable commit of so many records, each with two rows, beside as many
// rows that go. In TMPDIR, or /var/tmp, which is on a disk where /tmp often is not.
#include "broker/journal/journal.h"

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "broker/core/batch.h"

namespace zsched::broker {
namespace {

constexpr size_t kRecordBytes = 200, kSpecBytes = 130, kTaskRowBytes = 64;
// Rows that stay: the tables reach a steady size.
constexpr uint64_t kKept = 20'000;
constexpr uint64_t kKeepLogBytes = 16 << 20;

class Directory {
 public:
  Directory() {
    const char* root = std::getenv("TMPDIR");
    path_ =
        std::string(root != nullptr && *root != '\0' ? root : "/var/tmp") + "/zsched-micro-XXXXXX";
    ZS_CHECK(mkdtemp(path_.data()) != nullptr);
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void BM_LmdbCommit(benchmark::State& state) {
  Directory directory;
  auto journal = OpenLmdbJournal({.directory = directory.path(), .keep_log_bytes = kKeepLogBytes});
  if (!journal.ok()) return state.SkipWithError(journal.status().ToString().c_str());
  const std::string record(kRecordBytes, 'r'), spec(kSpecBytes, 's'), row(kTaskRowBytes, 't');
  Batch batch;
  Lsn lsn(1);
  uint64_t id = 0;
  for (auto _ : state) {
    batch.Begin(Epoch(4), lsn);
    for (int64_t i = 0; i < state.range(0); ++i) {
      batch.AppendRecord(record);
      batch.Put(Table::kSpecs, ++id, spec);
      batch.Put(Table::kTasks, id, row);
      if (id <= kKept) continue;
      batch.Erase(Table::kSpecs, id - kKept);
      batch.Erase(Table::kTasks, id - kKept);
    }
    lsn = batch.next_lsn();
    if (absl::Status status = (*journal)->Commit(batch); !status.ok())
      return state.SkipWithError(status.ToString().c_str());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
// Real time: most of a small commit is the disk's.
BENCHMARK(BM_LmdbCommit)->ArgName("records")->Arg(1)->Arg(100)->Arg(5'000)->UseRealTime();

}  // namespace
}  // namespace zsched::broker
