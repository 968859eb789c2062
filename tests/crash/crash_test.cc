// The parts that make crash images: what is recorded, and what a disk may do with it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "tests/crash/disk.h"
#include "tests/crash/life.h"
#include "tests/crash/run.h"
#include "tests/crash/scratch.h"

namespace zsched::crash {
namespace {

class Fd {
 public:
  Fd(const std::string& path, int flags) : fd_(open(path.c_str(), flags, 0600)) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { close(fd_); }
  int get() const { return fd_; }

 private:
  int fd_;
};

void PutAt(const Fd& fd, const std::string& bytes, off_t offset) {
  ASSERT_EQ(pwrite(fd.get(), bytes.data(), bytes.size(), offset), std::ssize(bytes));
}

class DiskTest : public testing::Test {
 protected:
  static constexpr int kDraws = 500;  // so many that each of a handful of outcomes comes up

  std::string File(const std::string& name) const { return scratch_.path() + "/" + name; }
  // Power fails when everything that was recorded has returned.
  std::set<Tree> ImagesAtTheEnd() {
    Recording recording = recorder_.Stop();
    Disk disk(recording.base);
    for (const Event& event : recording.events) {
      disk.Issue(event);
      disk.Settle(event);
    }
    std::set<Tree> images;
    sim::Random random(1);
    for (int i = 0; i < kDraws; ++i) images.insert(disk.Draw(random));
    return images;
  }

  Scratch scratch_;
  Recorder recorder_{scratch_.path()};
};

const std::string kA(kSectorBytes, 'a'), kB(kSectorBytes, 'b');

TEST_F(DiskTest, WhatIsSyncedWithItsDirectoryStays) {
  Fd fd(File("f"), O_RDWR | O_CREAT);
  PutAt(fd, kA + kB, 0);
  ASSERT_EQ(fdatasync(fd.get()), 0);
  ASSERT_EQ(fsync(Fd(scratch_.path(), O_RDONLY | O_DIRECTORY).get()), 0);
  EXPECT_EQ(ImagesAtTheEnd(), (std::set<Tree>{{{"f", kA + kB}}}));
}

TEST_F(DiskTest, ASyncedFileMayLoseItsName) {
  Fd fd(File("f"), O_RDWR | O_CREAT);
  PutAt(fd, kA, 0);
  ASSERT_EQ(fsync(fd.get()), 0);
  EXPECT_EQ(ImagesAtTheEnd(), (std::set<Tree>{{}, {{"f", kA}}}));
}

class DiskWithAFile : public DiskTest {
 protected:
  DiskWithAFile() : fd_(File("f"), O_RDWR | O_CREAT) {
    PutAt(fd_, kA + kA, 0);
    EXPECT_EQ(fsync(fd_.get()), 0);
    EXPECT_EQ(fsync(Fd(scratch_.path(), O_RDONLY | O_DIRECTORY).get()), 0);
  }
  static std::set<Tree> FileIs(std::initializer_list<std::string> contents) {
    std::set<Tree> images;
    for (const std::string& bytes : contents) images.insert({{"f", bytes}});
    return images;
  }

  Fd fd_;
};

TEST_F(DiskWithAFile, OneWriteMayBeTornBetweenSectorsButNotInsideOne) {
  PutAt(fd_, kB + kB.substr(0, 100), 0);
  const std::string half = kB.substr(0, 100) + kA.substr(100);
  EXPECT_EQ(ImagesAtTheEnd(), FileIs({kA + kA, kB + kA, kA + half, kB + half}));
}

TEST_F(DiskWithAFile, ASynchronousWriteTakesItsOwnSectorsAlong) {
  PutAt(fd_, kB.substr(0, 10), 0);  // in the sector that is made durable
  PutAt(fd_, kB, kSectorBytes);     // beside it
  PutAt(Fd(File("f"), O_WRONLY | O_DSYNC), kB.substr(0, 20), 10);
  const std::string durable = kB.substr(0, 30) + kA.substr(30);
  EXPECT_EQ(ImagesAtTheEnd(), FileIs({durable + kA, durable + kB}));
}

TEST_F(DiskWithAFile, LaterWritesOfASectorHoldTheEarlierOnes) {
  PutAt(fd_, kB.substr(0, 10), 0);
  PutAt(fd_, kB.substr(0, 10), 20);
  const std::string first = kB.substr(0, 10) + kA.substr(10);
  std::string both = first;
  both.replace(20, 10, kB, 0, 10);
  EXPECT_EQ(ImagesAtTheEnd(), FileIs({kA + kA, first + kA, both + kA}));
}

TEST_F(DiskWithAFile, ARenameHappensWholeOrNot) {
  ASSERT_EQ(rename(File("f").c_str(), File("g").c_str()), 0);
  EXPECT_EQ(ImagesAtTheEnd(), (std::set<Tree>{{{"f", kA + kA}}, {{"g", kA + kA}}}));
}

TEST_F(DiskWithAFile, ALengthMayBeLost) {
  ASSERT_EQ(ftruncate(fd_.get(), 10), 0);
  EXPECT_EQ(ImagesAtTheEnd(), FileIs({kA + kA, kA.substr(0, 10)}));
}

// Were the journal's calls not seen, every image would be empty and every check would pass. A commit is
// a sync of LMDB's pages and its meta page, or one write and one sync of the redo file.
TEST(Recorder, SeesEachCommitOfTheJournal) {
  Scratch scratch;
  Life life = RecordLife(scratch.path(),
                         {.steps = 90, .restart_percent = 0, .sizes = {.large_percent = 10}}, 1);
  size_t small = 0, large = 0;
  std::string calls;
  for (const Event& event : life.recording.events) {
    const bool is_redo = event.path == "data/redo", is_data = event.path == "data/data.mdb";
    if (event.note == NoteKind::kBegun) calls.clear();
    if (is_redo || (is_data && (event.kind == CallKind::kSync || event.synchronous)))
      calls += (is_redo ? "redo " : "data ") +
               std::string(event.kind == CallKind::kSync ? "sync, " : "write, ");
    if (event.note != NoteKind::kAcknowledged) continue;
    small += calls == "redo write, redo sync, ";
    large += calls == "data sync, data write, ";
  }
  EXPECT_EQ(small + large, life.states.size() - 1) << "the last one: " << calls;
  EXPECT_GT(small, 10u);
  EXPECT_GT(large, 0u);
}

TEST(Recorder, SawEverythingThatIsInTheFiles) {
  Scratch scratch;
  Life life = RecordLife(scratch.path(), ChooseLife(3), 3);
  Disk disk(life.recording.base);
  for (const Event& event : life.recording.events) {
    disk.Issue(event);
    disk.Settle(event);
  }
  sim::Random random(1);
  std::string file = *ReadTree(scratch.path()).at("data/data.mdb");
  BlankUnused(file, 0);
  Tree drawn = disk.Draw(random);
  EXPECT_TRUE(drawn.at("data/data.mdb") == file);
  EXPECT_TRUE(drawn.at("data/redo") == ReadTree(scratch.path()).at("data/redo"));
}

TEST(Run, ASeedGivesTheSameImages) {
  RunOptions options;
  options.seed = 5;
  options.images = 60;
  RunResult first = RunSeed(options), second = RunSeed(options);
  EXPECT_EQ(first.failure, "");
  EXPECT_EQ(first.tally.images, second.tally.images);
  EXPECT_EQ(first.tally.calls, second.tally.calls);
  EXPECT_EQ(first.tally.unacknowledged, second.tally.unacknowledged);
  EXPECT_EQ(first.tally.digest, second.tally.digest);
}

}  // namespace
}  // namespace zsched::crash
