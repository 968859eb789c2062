// What only the journal on disk can meet: other brokers, other versions, damaged files, full disks
// and kill -9.
#include <gtest/gtest.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "base/check.h"
#include "broker/journal/codec.h"
#include "broker/journal/data_directory.h"
#include "broker/journal/redo.h"
#include "tests/conformance/journal_fixture.h"

namespace zsched::broker {
namespace {

// A record whose commit is one of LMDB at once.
const std::string kTooLargeToWait(kMaxSegmentBytes, 'L');

class LmdbJournalTest : public testing::Test {
 protected:
  LmdbOptions Options() const { return {.directory = path(), .map_bytes = uint64_t{1} << 30}; }
  // A directory that does not exist yet.
  std::string path() const { return scratch_.path() + "/data"; }
  std::string File(const std::string& name) const { return path() + "/" + name; }

  absl::Status OpenStatus() const { return OpenLmdbJournal(Options()).status(); }

  static std::string Read(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void Write(const std::string& file, const std::string& bytes) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
  }
  // Flips one bit inside every place where `pattern` lies in `file`. Returns how many there were.
  int FlipIn(const std::string& pattern, const std::string& file = "data.mdb") const {
    std::string bytes = Read(File(file));
    int found = 0;
    for (size_t at = 0; (at = bytes.find(pattern, at)) != std::string::npos; ++at) {
      bytes[at + pattern.size() / 2] ^= 4;
      ++found;
    }
    Write(File(file), bytes);
    return found;
  }

  ScratchDirectory scratch_;
};

TEST_F(LmdbJournalTest, MakesAPrivateDirectoryWithItsFormat) {
  OpenOrDie(Options());
  struct stat info;
  ASSERT_EQ(stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  EXPECT_EQ(Read(File("FORMAT")), "zsched-journal 1\n");
}

TEST_F(LmdbJournalTest, ASecondBrokerIsRefusedUntilTheFirstEnds) {
  auto journal = OpenOrDie(Options());
  absl::Status status = OpenStatus();
  EXPECT_EQ(CodeOf(status), ErrorCode::kConflict);
  EXPECT_NE(MessageOf(status).find("pid " + std::to_string(getpid())), std::string::npos);
  EXPECT_NE(MessageOf(status).find(path()), std::string::npos);
  journal.reset();
  EXPECT_TRUE(OpenStatus().ok());
}

TEST_F(LmdbJournalTest, ANewerFormatIsRefused) {
  OpenOrDie(Options());
  Write(File("FORMAT"), "zsched-journal 2\n");
  absl::Status status = OpenStatus();
  EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidArgument);
  EXPECT_NE(MessageOf(status).find("newer"), std::string::npos);
}

// A copy that takes the place of the own journal, which is kept.
class CopiedJournal : public LmdbJournalTest {
 protected:
  void SetUp() override {
    LmdbJournalTest::SetUp();
    ASSERT_TRUE(Filler(4, 1)
                    .Record("submit")
                    .Put(Table::kTasks, 7, "own")
                    .CommitTo(*OpenOrDie(Options()))
                    .ok());
    Write(File("register"), "of a pair, and stays");
    LmdbOptions copy = Options();
    copy.directory = *DataDirectory::MakeCopy(path());
    EXPECT_EQ(copy.directory, path() + "/copy");
    ASSERT_TRUE(Filler(5, 40)
                    .Record("epoch")
                    .Put(Table::kTasks, 8, "copied")
                    .CommitTo(*OpenOrDie(copy))
                    .ok());
  }
  void ExpectCopied(const std::string& where) {
    auto journal = OpenOrDie(Options());
    EXPECT_EQ(RowOf(*journal, Table::kTasks, 8), "copied") << where;
    EXPECT_EQ(RowOf(*journal, Table::kTasks, 7), std::nullopt) << where;
    EXPECT_EQ(BoundsOf(*journal), std::make_pair(uint64_t{40}, uint64_t{40})) << where;
    EXPECT_FALSE(std::filesystem::exists(File("taking-copy"))) << where;
    EXPECT_FALSE(std::filesystem::exists(File("copy"))) << where;
  }
};

TEST_F(CopiedJournal, TakesThePlaceAndTheArchiveCanBeOpened) {
  EXPECT_EQ(CodeOf([&] {
              auto journal = OpenOrDie(Options());
              return DataDirectory::TakeCopy(path(), "in use");
            }()),
            ErrorCode::kConflict);
  ASSERT_TRUE(DataDirectory::TakeCopy(path(), "first").ok());
  ExpectCopied("at once");
  EXPECT_EQ(Read(File("register")), "of a pair, and stays");
  LmdbOptions archived = Options();
  archived.directory = path() + "/archive/first";
  auto journal = OpenOrDie(archived);
  EXPECT_EQ(RowOf(*journal, Table::kTasks, 7), "own");
  EXPECT_EQ(BoundsOf(*journal), std::make_pair(uint64_t{1}, uint64_t{1}));
}

// The process ends while files are replaced, in their order.
TEST_F(CopiedJournal, IsTakenAlsoWhenThatWasCutOff) {
  Write(File("taking-copy"), "");
  ExpectCopied("before the first");
  for (const int replaced : {1, 2, 3}) {
    std::filesystem::remove_all(path());
    SetUp();
    Write(File("taking-copy"), "");
    int count = 0;
    for (const char* file : {"data.mdb", "redo", "FORMAT"})
      if (count++ < replaced)
        std::filesystem::rename(File("copy/" + std::string(file)), File(file));
    ExpectCopied("after " + std::to_string(replaced));
  }
}

TEST_F(CopiedJournal, OneThatIsNotWholeIsNotTaken) {
  std::filesystem::remove(File("copy/FORMAT"));
  EXPECT_FALSE(DataDirectory::TakeCopy(path(), "first").ok());
  EXPECT_EQ(RowOf(*OpenOrDie(Options()), Table::kTasks, 7), "own");
  EXPECT_FALSE(std::filesystem::exists(*DataDirectory::MakeCopy(path())));
}

TEST_F(LmdbJournalTest, SomebodyElsesDirectoryIsRefusedAndLeftAlone) {
  ASSERT_EQ(mkdir(path().c_str(), 0755), 0);
  Write(File("thesis.tex"), "text");
  EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kInvalidArgument);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(path()), {}), 1);
}

TEST_F(LmdbJournalTest, AForeignFormatFileIsRefused) {
  ASSERT_EQ(mkdir(path().c_str(), 0755), 0);
  for (const char* text : {"", "something else\n", "zsched-journal x\n", "zsched-journal 0\n"}) {
    Write(File("FORMAT"), text);
    EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kInvalidArgument) << text;
  }
}

TEST_F(LmdbJournalTest, AFileInPlaceOfTheDirectoryIsRefused) {
  Write(path(), "not a directory");
  EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kInvalidArgument);
}

TEST_F(LmdbJournalTest, ADirectoryThatCannotBeMadeIsUnavailable) {
  LmdbOptions options = Options();
  options.directory = path() + "/missing/parents";
  EXPECT_EQ(CodeOf(OpenLmdbJournal(options).status()), ErrorCode::kUnavailable);
}

TEST_F(LmdbJournalTest, AnEmptyDirectoryAndAnUnfinishedOneAreTaken) {
  ASSERT_EQ(mkdir(path().c_str(), 0755), 0);
  ASSERT_EQ(mkdir(File("lost+found").c_str(), 0755), 0);
  OpenOrDie(Options());
  // As if power had failed just before FORMAT was written.
  std::filesystem::remove(File("FORMAT"));
  ASSERT_TRUE(Filler(1, 1).Record("x").CommitTo(*OpenOrDie(Options())).ok());
  EXPECT_TRUE(OpenStatus().ok());
}

TEST_F(LmdbJournalTest, ADirectoryWhoseMakingWasCutOffIsMadeAnew) {
  ASSERT_EQ(mkdir(path().c_str(), 0755), 0);
  Write(File("lock.mdb"), "torn");
  for (size_t pages : {1, 2, 5}) {
    std::filesystem::remove(File("FORMAT"));
    Write(File("data.mdb"), std::string(pages * 4096, '\0'));
    auto journal = OpenOrDie(Options());
    EXPECT_EQ(BoundsOf(*journal), std::make_pair(uint64_t{0}, uint64_t{0})) << pages;
  }
  // No leftover of a start is this large.
  std::filesystem::remove(File("FORMAT"));
  const std::string large(1'000'000, 'g');
  Write(File("data.mdb"), large);
  EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kDataLoss);
  EXPECT_EQ(Read(File("data.mdb")), large);
}

TEST_F(LmdbJournalTest, TasksWithoutAFormatFileAreNotTaken) {
  for (const std::string& record : {kTooLargeToWait, std::string("in redo only")}) {
    std::filesystem::remove_all(path());
    {
      auto journal = OpenOrDie(Options());
      ASSERT_TRUE(Filler(1, 1).Put(Table::kMeta, 99, "first").CommitTo(*journal).ok());
      ASSERT_TRUE(Filler(1, 1).Record(record).CommitTo(*journal).ok());
    }
    std::filesystem::rename(File("FORMAT"), scratch_.path() + "/FORMAT");
    EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kInvalidArgument);
    std::filesystem::rename(scratch_.path() + "/FORMAT", File("FORMAT"));
    EXPECT_EQ(BoundsOf(*OpenOrDie(Options())).second, 1u) << "it was left alone";
  }
}

TEST_F(LmdbJournalTest, AMissingEmptyGarbageOrShortDataFileIsDataLoss) {
  Filler filler(1, 1);
  filler.Put(Table::kSpecs, 1, std::string(100'000, 'x'));
  ASSERT_TRUE(filler.CommitTo(*OpenOrDie(Options())).ok());
  std::string good = Read(File("data.mdb"));
  Write(File("data.mdb"), std::string(good.size(), 'g'));
  EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kDataLoss);
  Write(File("data.mdb"), good.substr(0, good.size() / 2));
  EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kDataLoss);
  Write(File("data.mdb"), "");
  EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kDataLoss);
  std::filesystem::remove(File("data.mdb"));
  EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kDataLoss);
  Write(File("data.mdb"), good);
  EXPECT_TRUE(OpenStatus().ok());
}

// Takes pages at the end of data.mdb and gives them back in one transaction, which never writes them.
void LeavePagesUnwritten(const std::string& directory) {
  MDB_env* env;
  ASSERT_EQ(mdb_env_create(&env), 0);
  mdb_env_set_maxdbs(env, kTables + 1);
  mdb_env_set_mapsize(env, 1 << 30);
  ASSERT_EQ(mdb_env_open(env, directory.c_str(), 0, 0600), 0);
  auto transact = [&](size_t put, bool erase) {
    MDB_txn* txn;
    MDB_dbi dbi;
    ASSERT_EQ(mdb_txn_begin(env, nullptr, 0, &txn), 0);
    ASSERT_EQ(mdb_dbi_open(txn, "specs", 0, &dbi), 0);
    uint64_t number = ~uint64_t{0};
    std::string bytes(put, 'u');
    MDB_val key{sizeof number, &number}, value{bytes.size(), bytes.data()};
    if (put > 0) {
      ASSERT_EQ(mdb_put(txn, dbi, &key, &value, 0), 0);
    }
    if (erase) {
      ASSERT_EQ(mdb_del(txn, dbi, &key, nullptr), 0);
    }
    ASSERT_EQ(mdb_txn_commit(txn), 0);
  };
  // LMDB drops what it just took only while it has a list of free pages in hand: some that are old enough to be used.
  transact(50'000, false);
  transact(0, true);
  transact(1, false);
  transact(1, false);
  transact(5'000'000, true);
  mdb_env_close(env);
}

TEST_F(LmdbJournalTest, AFileThatEndsBeforeFreePagesIsWhole) {
  ASSERT_TRUE(Filler(1, 1).Put(Table::kTasks, 41, "good").CommitTo(*OpenOrDie(Options())).ok());
  ASSERT_NO_FATAL_FAILURE(LeavePagesUnwritten(path()));
  const size_t short_bytes = Read(File("data.mdb")).size();
  {
    auto journal = OpenOrDie(Options());
    auto view = ViewOf(*journal);
    EXPECT_EQ(RowIn(*view, Table::kTasks, 41), "good");
    EXPECT_GT(journal->Usage()->used_bytes, short_bytes) << "this file was not short";
    view.reset();
    ASSERT_TRUE(Filler(2, 2).Put(Table::kTasks, 42, "better").CommitTo(*journal).ok());
  }
  EXPECT_EQ(RowIn(*ViewOf(*OpenOrDie(Options())), Table::kTasks, 42), "better");
  // Without pages that are in use it is not.
  ASSERT_NO_FATAL_FAILURE(LeavePagesUnwritten(path()));
  std::string bytes = Read(File("data.mdb"));
  for (size_t pages : {3, 5, 8}) {
    Write(File("data.mdb"), bytes.substr(0, pages * 4096));
    EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kDataLoss) << pages << " pages";
    EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kDataLoss) << "the first look hid it";
  }
  Write(File("data.mdb"), bytes);
  EXPECT_TRUE(OpenStatus().ok());
}

TEST_F(LmdbJournalTest, AFlippedBitInARowIsDataLossThatNamesItsBlock) {
  const std::string small = "a row that is nowhere else", large(20'000, 'L');
  ASSERT_TRUE(Filler(1, 1)
                  .Put(Table::kTasks, 41, small)
                  .Put(Table::kTasks, 42, "in the same block")
                  .Put(Table::kTasks, uint64_t{1} << 40, "in another block")
                  .Put(Table::kSpecs, 43, large)
                  .CommitTo(*OpenOrDie(Options()))
                  .ok());
  ASSERT_GT(FlipIn(small), 0);
  ASSERT_GT(FlipIn(large), 0);
  auto journal = OpenOrDie(Options());
  auto view = ViewOf(*journal);
  EXPECT_EQ(RowIn(*view, Table::kTasks, uint64_t{1} << 40), "in another block");
  absl::Status lost = view->Get(Table::kTasks, 42).status();
  EXPECT_EQ(CodeOf(lost), ErrorCode::kDataLoss);
  EXPECT_NE(MessageOf(lost).find("table tasks, rows from key 41"), std::string::npos) << lost;
  EXPECT_EQ(CodeOf(view->Get(Table::kSpecs, 43).status()), ErrorCode::kDataLoss);
  auto keep_going = [](uint64_t, std::string_view) { return true; };
  EXPECT_EQ(CodeOf(view->Scan(Table::kTasks, 0, keep_going)), ErrorCode::kDataLoss);
}

TEST_F(LmdbJournalTest, ABlockUnderAnotherKeyIsDataLoss) {
  // Same bytes, same size: only the checksum's seed tells the two keys apart.
  ASSERT_TRUE(Filler(1, 1)
                  .Put(Table::kTasks, 0x0102030405060708, "row")
                  .CommitTo(*OpenOrDie(Options()))
                  .ok());
  std::string bytes = Read(File("data.mdb"));
  const std::string key("\x01\x02\x03\x04\x05\x06\x07\x08", 8);
  int found = 0;  // as a key, the number lies in data.mdb big-endian nowhere else
  for (size_t at = 0; (at = bytes.find(key, at)) != std::string::npos; ++at, ++found)
    bytes[at + 7] = 9;
  ASSERT_GT(found, 0);
  Write(File("data.mdb"), bytes);
  auto journal = OpenOrDie(Options());
  EXPECT_EQ(CodeOf(ViewOf(*journal)->Get(Table::kTasks, 0x0102030405060709).status()),
            ErrorCode::kDataLoss);
}

TEST_F(LmdbJournalTest, AFlippedBitInTheLogIsDataLoss) {
  {
    auto journal = OpenOrDie(Options());
    ASSERT_TRUE(Filler(1, 1).Record("a record that is nowhere else").CommitTo(*journal).ok());
    ASSERT_TRUE(Filler(1, 2).Record(kTooLargeToWait).CommitTo(*journal).ok());
    ASSERT_TRUE(Filler(1, 3)
                    .Record(kTooLargeToWait + "the last one is read at open")
                    .CommitTo(*journal)
                    .ok());
  }
  ASSERT_GT(FlipIn("a record that is nowhere else"), 0);
  {
    auto journal = OpenOrDie(Options());
    absl::Status lost = ViewOf(*journal)->ScanLog(Lsn(1), [](const LogSegment&) { return true; });
    EXPECT_EQ(CodeOf(lost), ErrorCode::kDataLoss);
    EXPECT_NE(MessageOf(lost).find("LSN 1"), std::string::npos) << lost;
  }
  ASSERT_GT(FlipIn("the last one is read at open"), 0);
  EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kDataLoss);
}

TEST_F(LmdbJournalTest, TheLogIsTrimmedToItsBoundAndKeepsItsEnd) {
  constexpr uint64_t kKeepBytes = 1 << 20;
  LmdbOptions options = Options();
  options.keep_log_bytes = kKeepBytes;
  uint64_t lsn = 1;
  {
    auto journal = OpenOrDie(options);
    for (int batch = 0; batch < 100; ++batch) {
      Filler filler(1, lsn);
      for (int i = 0; i < 100; ++i, ++lsn) filler.Record(std::string(1000, 'r'));
      ASSERT_TRUE(filler.CommitTo(*journal).ok());
      EXPECT_LE(journal->Usage()->log_bytes, kKeepBytes);
    }
    EXPECT_EQ(BoundsOf(*journal).second, lsn - 1);
    EXPECT_GT(BoundsOf(*journal).first, 1u);
    EXPECT_EQ(LogOf(*journal).front().first_lsn, BoundsOf(*journal).first);
    // Trimmed pages are used again: 10 MB went through.
    EXPECT_LT(journal->Usage()->used_bytes, 4 * kKeepBytes);
  }
  // A bound that was lowered is reached in steps, and the last segment stays.
  options.keep_log_bytes = 0;
  auto journal = OpenOrDie(options);
  for (int batch = 0; batch < 10; ++batch, ++lsn)
    ASSERT_TRUE(Filler(1, lsn).Record(kTooLargeToWait).CommitTo(*journal).ok());
  EXPECT_EQ(BoundsOf(*journal), std::make_pair(lsn - 1, lsn - 1));
}

TEST_F(LmdbJournalTest, SmallCommitsAreTrimmedWhenTheirRowsReachTheTables) {
  LmdbOptions options = Options();
  options.keep_log_bytes = 0;
  auto journal = OpenOrDie(options);
  for (uint64_t lsn = 1; lsn <= 500; ++lsn) {
    ASSERT_TRUE(Filler(1, lsn).Record("r").Put(Table::kTasks, lsn, "row").CommitTo(*journal).ok());
    auto [first, last] = BoundsOf(*journal);
    EXPECT_EQ(last, lsn);
    EXPECT_LE(last - first, kMaxLayers);
  }
  EXPECT_EQ(RowsOf(*journal, Table::kTasks).size(), 500u);
}

// --- Small commits lie in the redo file until a large one takes them into LMDB.
class RedoFileTest : public LmdbJournalTest {
 protected:
  // One record and one row under key `lsn`.
  static absl::Status CommitSmall(Journal& journal, uint64_t lsn) {
    return Filler(1, lsn)
        .Record("record " + std::to_string(lsn))
        .Put(Table::kTasks, lsn, RowAt(lsn))
        .CommitTo(journal);
  }
  static std::string RowAt(uint64_t lsn) { return "a row of LSN " + std::to_string(lsn) + "."; }
  // The first commit of a process goes into LMDB, so here it is one without a record.
  std::unique_ptr<Journal> OpenForSmall(uint64_t next_lsn) const {
    auto journal = OpenOrDie(Options());
    ZS_CHECK_OK(Filler(1, next_lsn).Put(Table::kMeta, 99, "first").CommitTo(*journal));
    return journal;
  }
  void CommitSmallOnes(uint64_t first, uint64_t last) {
    auto journal = OpenForSmall(first);
    for (uint64_t lsn = first; lsn <= last; ++lsn) ASSERT_TRUE(CommitSmall(*journal, lsn).ok());
  }
  int FlipInRedo(const std::string& pattern) const { return FlipIn(pattern, "redo"); }
};

TEST_F(RedoFileTest, SmallCommitsDoNotTouchLmdbAndAreFoundAgain) {
  std::string before;
  {
    auto journal = OpenForSmall(1);
    before = Read(File("data.mdb"));
    for (uint64_t lsn = 1; lsn <= kMaxLayers; ++lsn) ASSERT_TRUE(CommitSmall(*journal, lsn).ok());
    EXPECT_TRUE(Read(File("data.mdb")) == before);
    EXPECT_EQ(BoundsOf(*journal), std::make_pair(uint64_t{1}, uint64_t{kMaxLayers}));
    EXPECT_EQ(LogOf(*journal, kMaxLayers - 1).size(), 2u);
  }
  auto journal = OpenOrDie(Options());
  EXPECT_FALSE(Read(File("data.mdb")) == before) << "a start takes them in";
  EXPECT_EQ(RowsOf(*journal, Table::kTasks).size(), kMaxLayers);
  EXPECT_EQ(LogOf(*journal).size(), kMaxLayers);
  ASSERT_TRUE(CommitSmall(*journal, kMaxLayers + 1).ok());
}

TEST_F(RedoFileTest, TheFirstCommitOfAProcessIsLmdbs) {
  const std::string zeros = (OpenOrDie(Options()), Read(File("redo")));
  for (uint64_t lsn = 1; lsn < 4; ++lsn) ASSERT_TRUE(CommitSmall(*OpenOrDie(Options()), lsn).ok());
  EXPECT_TRUE(Read(File("redo")) == zeros);
  EXPECT_EQ(RowsOf(*OpenOrDie(Options()), Table::kTasks).size(), 3u);
}

TEST_F(RedoFileTest, ACommitThatChangesNothingIsNotTheFirst) {
  auto journal = OpenOrDie(Options());
  const std::string zeros = Read(File("redo"));
  ASSERT_TRUE(Filler(1, 1).Erase(Table::kTasks, 5).CommitTo(*journal).ok());  // never was there
  ASSERT_TRUE(CommitSmall(*journal, 1).ok());
  EXPECT_TRUE(Read(File("redo")) == zeros);
  ASSERT_TRUE(CommitSmall(*journal, 2).ok());
  EXPECT_FALSE(Read(File("redo")) == zeros);
}

TEST_F(RedoFileTest, SlotsFromBeforeTheLastLargeCommitDoNotCount) {
  CommitSmallOnes(1, 5);
  {
    auto journal = OpenOrDie(Options());
    ASSERT_TRUE(Filler(1, 6).Record(kTooLargeToWait).CommitTo(*journal).ok());
    ASSERT_TRUE(CommitSmall(*journal, 7).ok());  // over that of LSN 1
  }
  ASSERT_EQ(FlipInRedo(RowAt(3)), 1);
  auto journal = OpenOrDie(Options());
  EXPECT_EQ(RowsOf(*journal, Table::kTasks).size(), 6u);
  EXPECT_EQ(BoundsOf(*journal).second, 7u);
}

TEST_F(RedoFileTest, AFlippedBitBeforeTheLastCommitIsDataLoss) {
  CommitSmallOnes(1, 3);
  ASSERT_EQ(FlipInRedo(RowAt(2)), 1);
  absl::Status lost = OpenStatus();
  EXPECT_EQ(CodeOf(lost), ErrorCode::kDataLoss);
  EXPECT_NE(MessageOf(lost).find("LSN 2"), std::string::npos) << lost;
  EXPECT_NE(MessageOf(lost).find(path()), std::string::npos) << lost;
}

TEST_F(RedoFileTest, AnUnreadableLastCommitIsOneThatWasCutOff) {
  CommitSmallOnes(1, 3);
  ASSERT_EQ(FlipInRedo(RowAt(3)), 1);
  auto journal = OpenOrDie(Options());
  EXPECT_EQ(BoundsOf(*journal).second, 2u);
  ASSERT_TRUE(CommitSmall(*journal, 3).ok());
  journal.reset();
  EXPECT_EQ(RowsOf(*OpenOrDie(Options()), Table::kTasks).size(), 3u);
}

TEST_F(RedoFileTest, AMissingOrShortFileIsDataLoss) {
  CommitSmallOnes(1, 3);
  const std::string good = Read(File("redo"));
  Write(File("redo"), good.substr(0, good.size() - 1));
  EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kDataLoss);
  std::filesystem::remove(File("redo"));
  EXPECT_EQ(CodeOf(OpenStatus()), ErrorCode::kDataLoss);
  Write(File("redo"), good);
  EXPECT_TRUE(OpenStatus().ok());
}

TEST_F(RedoFileTest, RubbishIsNotRead) {
  std::mt19937_64 random(1);
  CommitSmallOnes(1, 1);
  std::string bytes = Read(File("redo"));
  for (int round = 0; round < 50; ++round) {
    for (size_t at = 16 << 10; at < bytes.size(); at += 8) {
      uint64_t word = random();
      if (at % (16 << 10) == 0) word %= 20'000;  // a length that may fit
      std::memcpy(bytes.data() + at, &word, sizeof word);
    }
    Write(File("redo"), bytes);
    ASSERT_EQ(RowsOf(*OpenOrDie(Options()), Table::kTasks).size(), 1u);
  }
}

TEST_F(LmdbJournalTest, FreeBytesCountWhatErasingGaveBack) {
  auto journal = OpenOrDie(Options());
  ASSERT_TRUE(
      Filler(1, 1).Put(Table::kSpecs, 1, std::string(1 << 20, 'x')).CommitTo(*journal).ok());
  uint64_t before = journal->Usage()->free_bytes;
  ASSERT_TRUE(Filler(1, 1).Erase(Table::kSpecs, 1).CommitTo(*journal).ok());
  EXPECT_GE(journal->Usage()->free_bytes, before + (1 << 20));
}

TEST_F(LmdbJournalTest, AFullMapIsResourceExhaustedAndPoisons) {
  LmdbOptions options = Options();
  options.map_bytes = 1 << 20;
  {
    auto journal = OpenOrDie(options);
    ASSERT_TRUE(Filler(1, 1).Record("fits").Put(Table::kTasks, 1, "x").CommitTo(*journal).ok());
    absl::Status full = Filler(1, 2)
                            .Record("y")
                            .Put(Table::kSpecs, 1, std::string(2 << 20, 'y'))
                            .CommitTo(*journal);
    EXPECT_EQ(CodeOf(full), ErrorCode::kResourceExhausted) << full;
    absl::Status later = Filler(1, 2).Record("small").CommitTo(*journal);
    EXPECT_EQ(CodeOf(later), ErrorCode::kResourceExhausted) << later;
    EXPECT_EQ(BoundsOf(*journal).second, 1u);
  }
  options.map_bytes = 8 << 20;
  auto journal = OpenOrDie(options);
  EXPECT_EQ(RowOf(*journal, Table::kTasks, 1), "x");
  EXPECT_EQ(RowOf(*journal, Table::kSpecs, 1), std::nullopt);
  EXPECT_TRUE(Filler(1, 2).Record("small").CommitTo(*journal).ok());
}

TEST_F(LmdbJournalTest, ViewsAreBoundedAndReusable) {
  auto journal = OpenOrDie(Options());
  ASSERT_TRUE(Filler(1, 1).Put(Table::kTasks, 1, "x").CommitTo(*journal).ok());
  std::vector<std::unique_ptr<JournalView>> views;
  absl::Status status;
  constexpr size_t kMoreThanThereAre = 1000;
  while (views.size() < kMoreThanThereAre) {
    auto view = journal->View();
    if (!view.ok()) {
      status = view.status();
      break;
    }
    views.push_back(*std::move(view));
  }
  EXPECT_EQ(CodeOf(status), ErrorCode::kResourceExhausted);
  EXPECT_GT(views.size(), 100u);
  views.pop_back();
  EXPECT_EQ(RowOf(*journal, Table::kTasks, 1), "x");
}

// --- In child processes

// Runs `body` in a child and returns its exit status as waitpid gives it. The child never returns
// into gtest.
int InChild(const std::function<int()>& body) {
  pid_t child = fork();
  ZS_CHECK(child >= 0);
  if (child == 0) _exit(body());
  int status = 0;
  ZS_CHECK(waitpid(child, &status, 0) == child);
  return status;
}

TEST_F(LmdbJournalTest, AnotherProcessIsRefused) {
  auto journal = OpenOrDie(Options());
  int status = InChild([&] { return CodeOf(OpenStatus()) == ErrorCode::kConflict ? 0 : 1; });
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

std::string RowFor(uint64_t lsn) { return "row " + std::to_string(lsn); }

absl::Status CommitOne(Journal& journal, uint64_t lsn) {
  return Filler(1, lsn)
      .Record("record " + std::to_string(lsn) + std::string(lsn % 700, '.'))
      .Put(Table::kSpecs, lsn, RowFor(lsn))
      .Put(Table::kTasks, lsn % 100, RowFor(lsn))
      .CommitTo(journal);
}

// Everything up to `acknowledged` is there, and what is there ends at one commit.
void ExpectWhole(Journal& journal, uint64_t acknowledged) {
  uint64_t last = BoundsOf(journal).second;
  ASSERT_GE(last, acknowledged);
  Rows specs = RowsOf(journal, Table::kSpecs);
  ASSERT_EQ(specs.size(), last);
  for (const auto& [lsn, row] : specs) ASSERT_EQ(row, RowFor(lsn));
  std::vector<Segment> log = LogOf(journal, 1);
  ASSERT_EQ(log.empty() ? 0 : log.back().first_lsn + log.back().count - 1, last);
  if (last > 0) {
    ASSERT_EQ(RowOf(journal, Table::kTasks, last % 100), RowFor(last));
  }
}

TEST_F(LmdbJournalTest, AFailedWriteIsAnErrorPoisonsAndLosesNothingAcknowledged) {
  OpenOrDie(Options());
  int acks[2];
  ASSERT_EQ(pipe(acks), 0);
  int status = InChild([&] {
    signal(SIGXFSZ, SIG_IGN);
    rlimit limit{.rlim_cur = 1 << 20, .rlim_max = 1 << 20};  // data.mdb may not grow further
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 2;
    auto journal = OpenOrDie(Options());
    uint64_t lsn = 1;
    while (CommitOne(*journal, lsn).ok()) ++lsn;
    if (CommitOne(*journal, lsn).ok()) return 3;
    uint64_t acknowledged = lsn - 1;
    return write(acks[1], &acknowledged, sizeof(acknowledged)) == sizeof(acknowledged) ? 0 : 4;
  });
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  uint64_t acknowledged = 0;
  ASSERT_EQ(read(acks[0], &acknowledged, sizeof(acknowledged)), ssize_t{sizeof(acknowledged)});
  close(acks[0]);
  close(acks[1]);
  EXPECT_GT(acknowledged, 100u);
  auto journal = OpenOrDie(Options());
  ASSERT_NO_FATAL_FAILURE(ExpectWhole(*journal, acknowledged));
  EXPECT_TRUE(CommitOne(*journal, BoundsOf(*journal).second + 1).ok());
}

// Commits for ever, reporting each LSN once it is durable.
[[noreturn]] void CommitUntilKilled(const LmdbOptions& options, int acks) {
  auto journal = OpenOrDie(options);
  for (uint64_t lsn = BoundsOf(*journal).second + 1;; ++lsn) {
    ZS_CHECK_OK(CommitOne(*journal, lsn));
    if (write(acks, &lsn, sizeof(lsn)) != sizeof(lsn)) _exit(1);
  }
}

// The last LSN that the child reported before it was killed, after `reports` of them and a short
// spin that moves the blow within a commit.
uint64_t KillAfter(const LmdbOptions& options, int reports, int spins) {
  int acks[2];
  ZS_CHECK(pipe(acks) == 0);
  pid_t child = fork();
  ZS_CHECK(child >= 0);
  if (child == 0) {
    close(acks[0]);
    CommitUntilKilled(options, acks[1]);
  }
  close(acks[1]);
  uint64_t lsn = 0, last = 0;
  auto next = [&] { return read(acks[0], &lsn, sizeof(lsn)) == sizeof(lsn); };
  for (int i = 0; i < reports && next(); ++i) last = lsn;
  for (std::atomic<int> spin = 0; spin < spins; ++spin) {
  }
  kill(child, SIGKILL);
  ZS_CHECK(waitpid(child, nullptr, 0) == child);
  while (next()) last = lsn;
  close(acks[0]);
  return last;
}

TEST_F(LmdbJournalTest, KillDashNineLosesNothingThatWasReportedDurable) {
  constexpr int kRounds = 20;
  constexpr int kMaxReports = 40;
  constexpr int kMaxSpins = 200'000;  // about one commit
  std::mt19937 random(9);
  for (int round = 0; round < kRounds; ++round) {
    int reports = static_cast<int>(random() % kMaxReports);
    int spins = static_cast<int>(random() % kMaxSpins);
    uint64_t acknowledged = KillAfter(Options(), reports, spins);
    auto journal = OpenOrDie(Options());
    ASSERT_NO_FATAL_FAILURE(ExpectWhole(*journal, acknowledged)) << "round " << round;
    ASSERT_GE(acknowledged, static_cast<uint64_t>(reports));
  }
}

}  // namespace
}  // namespace zsched::broker
