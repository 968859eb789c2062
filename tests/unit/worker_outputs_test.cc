// What a worker sends of what its attempts write: the last pages, in turns, before their ends, again in a new session.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "worker/core/outputs.h"

namespace zsched::worker {
namespace {

constexpr uint64_t kPage = kOutputPageBytes;

std::vector<OutputPage> Written(OutputPages& box, const std::string& text,
                                OutputStream stream = OutputStream::kStdout) {
  box.Append(stream, text);
  return box.Take();
}

// "LEASE@OFFSET:BYTES" of each page.
std::vector<std::string> Text(const std::vector<OutputPageRef>& pages) {
  std::vector<std::string> texts;
  for (const OutputPageRef& ref : pages)
    texts.push_back(std::to_string(ref.lease.value()) + "@" + std::to_string(ref.page->offset) +
                    ":" + ref.page->bytes);
  return texts;
}
using Texts = std::vector<std::string>;

// Every byte with its stream: "o" of stdout, "e" of stderr, "l" of the log.
std::string Streams(const OutputPage& page) {
  std::string streams;
  for (const wire::OutputRun& run : page.runs)
    streams.append(run.bytes(), "loe"[static_cast<size_t>(run.stream())]);
  return streams;
}

TEST(OutputPages, BytesStandInPagesWithTheirStreams) {
  OutputPages pages;
  pages.Append(OutputStream::kStdout, "ab");
  pages.Append(OutputStream::kStdout, "c");
  pages.Append(OutputStream::kStderr, "d");
  pages.Append(OutputStream::kLog, std::string(kPage, 'l'));
  ASSERT_EQ(pages.pages().size(), 2u);
  const OutputPage &first = pages.pages()[0], &second = pages.pages()[1];
  EXPECT_EQ(first.offset, 0u);
  EXPECT_EQ(first.bytes, "abcd" + std::string(kPage - 4, 'l'));
  EXPECT_EQ(Streams(first), "oooe" + std::string(kPage - 4, 'l'));
  EXPECT_EQ(first.runs.size(), 3u) << "what stands beside each other is one run";
  EXPECT_EQ(second.offset, kPage);
  EXPECT_EQ(second.bytes, "llll");
}

TEST(OutputPages, OfAFloodTheEndStays) {
  OutputPages pages;
  std::string flood;
  for (uint64_t i = 0; flood.size() < 5'000'000; ++i) flood += std::to_string(i) + " ";
  pages.Append(OutputStream::kStdout, "begin");
  pages.Append(OutputStream::kStdout, flood);
  const std::string all = "begin" + flood;
  EXPECT_EQ(pages.end(), all.size());
  EXPECT_EQ(pages.pages().size(), kOutputPages);
  uint64_t at = pages.pages().front().offset;
  EXPECT_EQ(at % kPage, 0u);
  EXPECT_GT(at + (kOutputPages + 1) * kPage, all.size());
  for (const OutputPage& page : pages.pages()) {
    EXPECT_EQ(page.offset, at);
    EXPECT_EQ(page.bytes, all.substr(at, kPage));
    at += page.bytes.size();
  }
  EXPECT_EQ(at, all.size());
}

TEST(Outputs, APageThatGrowsIsSentAgainAndNotTooOften) {
  Outputs outputs;
  OutputPages box;
  EXPECT_EQ(outputs.NextDeadlineMs(), Outputs::kNever);
  outputs.OnWritten(TaskId(1), LeaseId(1), Written(box, "one "));
  EXPECT_EQ(Text(outputs.Take(1000)), Texts{"1@0:one "});
  EXPECT_TRUE(outputs.Take(1000).empty());
  outputs.OnWritten(TaskId(1), LeaseId(1), Written(box, "two "));
  EXPECT_TRUE(outputs.Take(1000 + kReportEveryMs - 1).empty());
  EXPECT_EQ(outputs.NextDeadlineMs(), 1000 + kReportEveryMs);
  outputs.OnWritten(TaskId(1), LeaseId(1), Written(box, std::string(kPage, 'x')));
  EXPECT_EQ(Text(outputs.Take(1000 + kReportEveryMs)),
            (Texts{"1@0:one two " + std::string(kPage - 8, 'x'), "1@1024:xxxxxxxx"}));
  EXPECT_EQ(outputs.NextDeadlineMs(), Outputs::kNever);
  outputs.OnWritten(TaskId(1), LeaseId(1), Written(box, "y"));
  EXPECT_EQ(Text(outputs.Take(5000)), Texts{"1@1024:xxxxxxxxy"}) << "full pages are sent once";
}

TEST(Outputs, WhatHasEndedDoesNotWait) {
  Outputs outputs;
  OutputPages boxes[2];
  for (uint64_t lease : {1, 2})
    outputs.OnWritten(TaskId(lease), LeaseId(lease), Written(boxes[lease - 1], "a"));
  EXPECT_EQ(outputs.Take(1000).size(), 2u);
  for (uint64_t lease : {1, 2})
    outputs.OnWritten(TaskId(lease), LeaseId(lease), Written(boxes[lease - 1], "b"));
  outputs.OnEnded(LeaseId(1));
  EXPECT_EQ(outputs.NextDeadlineMs(), 0);
  EXPECT_EQ(Text(outputs.Take(1001)), Texts{"1@0:ab"});
}

TEST(Outputs, AllIsDueAgainInANewSessionButWhatIsNotHeld) {
  Outputs outputs;
  OutputPages box;
  for (uint64_t lease : {1, 2, 3})
    outputs.OnWritten(TaskId(lease), LeaseId(lease), Written(box = {}, "text"));
  EXPECT_EQ(outputs.Take(1000).size(), 3u);
  outputs.OnSessionUp();
  outputs.Forget([](LeaseId lease) { return lease != LeaseId(2); });
  EXPECT_EQ(Text(outputs.Take(1001)), (Texts{"1@0:text", "3@0:text"}));
  outputs.Forget([](LeaseId) { return false; });
  EXPECT_TRUE(outputs.empty());
  EXPECT_EQ(outputs.held_bytes(), 0u);
}

TEST(Outputs, APieceWhoseStartIsNotThereIsNoPage) {
  Outputs outputs;
  OutputPages box;
  Written(box, "nobody heard this ");
  outputs.OnWritten(TaskId(1), LeaseId(1),
                    Written(box, "nor this, " + std::string(kPage - 28, '.') + "but this"));
  EXPECT_EQ(Text(outputs.Take(1000)), Texts{"1@1024:but this"});
}

TEST(Outputs, AllTogetherAreBounded) {
  Outputs outputs;
  const std::string full(kOutputPages * kPage, 'x');
  for (uint64_t lease = 1; lease <= 1200; ++lease) {
    OutputPages box;
    outputs.OnWritten(TaskId(lease), LeaseId(lease), Written(box, full));
    EXPECT_LE(outputs.held_bytes(), kMaxHeldOutputBytes);
  }
  EXPECT_GT(outputs.held_bytes(), kMaxHeldOutputBytes * 9 / 10);
  for (uint64_t lease = 1; lease <= 1200; ++lease) outputs.OnEnded(LeaseId(lease));
  const std::vector<OutputPageRef> pages = outputs.Take(1000);
  std::map<uint64_t, size_t> count;
  for (const OutputPageRef& ref : pages) ++count[ref.lease.value()];
  EXPECT_EQ(count.at(1), 1u) << "the oldest has only the page that may go on";
  EXPECT_EQ(count.at(1200), kOutputPages);
}

TEST(Outputs, AFrameIsBoundedByItsBytesAndPages) {
  OutputPage page;
  page.Append(OutputStream::kLog, "x");
  std::vector<OutputPageRef> pages(3000, {TaskId(1), LeaseId(1), &page});
  EXPECT_EQ(PagesOfOneFrame(pages), kMaxOutputFramePages);
  OutputPage mixed;  // a stream of its own for each byte
  for (size_t i = 0; i < kPage; ++i)
    mixed.Append(i % 2 == 0 ? OutputStream::kStdout : OutputStream::kStderr, "x");
  pages.assign(3000, {TaskId(1), LeaseId(1), &mixed});
  EXPECT_EQ(PagesOfOneFrame(pages), kBatchTargetBytes / (5 * kPage));
  EXPECT_EQ(PagesOfOneFrame(std::span(pages).first(1)), 1u);
  EXPECT_EQ(PagesOfOneFrame({}), 0u);
}

// Against a model of the broker, which stores each page over what was in its place: what it has of each attempt is a part
// of what was written, without a byte in a wrong place, and of one that has ended the end.
TEST(Outputs, WhateverIsWrittenTheEndArrives) {
  struct Attempt {
    OutputPages box;
    std::string written;
    bool ended = false;
    std::map<uint64_t, OutputPage> known;  // at the broker, by place
  };
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    std::mt19937_64 random(seed);
    Outputs outputs;
    std::map<uint64_t, Attempt> attempts;
    int64_t now_ms = 0;
    auto take = [&] {
      for (const OutputPageRef& ref : outputs.Take(now_ms)) {
        Attempt& attempt = attempts[ref.lease.value()];
        ASSERT_EQ(ref.page->offset % kPage, 0u);
        ASSERT_EQ(ref.page->bytes,
                  attempt.written.substr(ref.page->offset, ref.page->bytes.size()));
        attempt.known[ref.page->number() % kOutputPages] = *ref.page;
      }
      for (const auto& [lease, attempt] : attempts) {
        if (!attempt.ended || attempt.written.empty()) continue;
        const uint64_t last = (attempt.written.size() - 1) / kPage;
        const auto page = attempt.known.find(last % kOutputPages);
        ASSERT_NE(page, attempt.known.end()) << "its result goes next";
        EXPECT_EQ(page->second.end(), attempt.written.size());
      }
    };
    for (int step = 0; step < 1000; ++step) {
      const uint64_t lease = 1 + random() % 20;
      Attempt& attempt = attempts[lease];
      switch (random() % 6) {
        case 0:
          if (attempt.ended || random() % 5 != 0) break;
          attempt.ended = true;
          outputs.OnWritten(TaskId(lease), LeaseId(lease), attempt.box.Take());
          outputs.OnEnded(LeaseId(lease));
          break;
        case 1:
          if (random() % 20 != 0) break;
          for (auto& [id, each] : attempts) each.known.clear();  // not durable, and the broker died
          outputs.OnSessionUp();
          break;
        case 2:
          now_ms += static_cast<int64_t>(random() % 300);
          take();
          break;
        case 3:
          if (!attempt.ended) outputs.OnWritten(TaskId(lease), LeaseId(lease), attempt.box.Take());
          break;
        default:
          if (attempt.ended) break;
          const std::string text(random() % (random() % 10 == 0 ? 100'000 : 500),
                                 static_cast<char>('a' + step % 26));
          attempt.written += text;
          attempt.box.Append(static_cast<OutputStream>(random() % 3), text);
      }
    }
    for (int i = 0; i < 10; ++i, now_ms += kReportEveryMs) take();
    EXPECT_EQ(outputs.NextDeadlineMs(), Outputs::kNever) << "seed " << seed;
  }
}

}  // namespace
}  // namespace zsched::worker
