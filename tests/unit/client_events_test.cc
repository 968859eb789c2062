// Events and figures at the client: what is asked reaches the broker whole, and what a broker says is not trusted.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>

#include "client/lib/codec.h"
#include "tests/unit/fake_broker.h"
#include "zsched/client.h"

namespace zsched {
namespace {

using testing::Builder;
using testing::FakeBroker;
using testing::FinishBody;

constexpr int64_t kPatienceMs = 20'000;

class ClientEventsTest : public ::testing::Test {
 protected:
  using Answer = std::function<flatbuffers::Offset<wire::EventPage>(Builder&, const wire::Events&)>;

  absl::StatusOr<EventPage> Ask(const EventQuery& query, const Answer& answer) {
    broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
      if (frame.header.type != MessageType::kEvents) return false;
      Builder b;
      const auto page = answer(b, *flatbuffers::GetRoot<wire::Events>(frame.body.data()));
      broker_.Send(peer, MessageType::kEventPage, FinishBody(b, page));
      return true;
    });
    auto client = Client::Create({.brokers = broker_.address()});
    EXPECT_TRUE(client.ok()) << client.status();
    EXPECT_TRUE((*client)->WaitForBroker(kPatienceMs).ok());
    return (*client)->Events(query);
  }
  absl::StatusOr<EventPage> AskFrom(EventPosition from, EventPosition next, bool trimmed) {
    return Ask({.from = from}, [&](Builder& b, const wire::Events& asked) {
      return wire::CreateEventPage(b, asked.request(), 0, next.after.value(), next.skip, 100,
                                   trimmed);
    });
  }

  FakeBroker broker_;
};

TEST_F(ClientEventsTest, AllOfAQuestionAndOfAnAnswerArrives) {
  const EventQuery query{.from = {Lsn(7), 3},
                         .kinds = {EventKind::kDead, EventKind::kMerged},
                         .queue = "q",
                         .type = "t",
                         .task = TaskId(9),
                         .limit = kMaxEventLimit + 1};
  const auto page = Ask(query, [](Builder& b, const wire::Events& asked) {
    EXPECT_EQ(asked.after(), 7u);
    EXPECT_EQ(asked.skip(), 3u);
    EXPECT_EQ(asked.kinds(), 1u << 5 | 1u << 22);
    EXPECT_EQ(asked.queue()->str(), "q");
    EXPECT_EQ(asked.type()->str(), "t");
    EXPECT_EQ(asked.task(), 9u);
    EXPECT_EQ(asked.limit(), kMaxEventLimit) << "no more than one answer may have";
    std::vector<flatbuffers::Offset<wire::Event>> events{
        wire::CreateEventDirect(b, 8, 3, 1000, wire::EventKind::kDead, 9, "q", "t",
                                wire::TaskState::kDead, 2, "w", "n", 32, "no", 4, "m", 5, 6),
        wire::CreateEventDirect(b, 8, 4, 1000, static_cast<wire::EventKind>(200), 9)};
    return wire::CreateEventPageDirect(b, asked.request(), &events, 8, 0, 12);
  });
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->events.size(), 1u) << "kinds of newer brokers are left out";
  const Event& event = page->events[0];
  EXPECT_EQ(event.lsn, Lsn(8));
  EXPECT_EQ(event.index, 3u);
  EXPECT_EQ(event.kind, EventKind::kDead);
  EXPECT_EQ(event.task, TaskId(9));
  EXPECT_EQ(event.queue + event.type + event.worker + event.name + event.message, "qtwnm");
  EXPECT_EQ(event.state, TaskState::kDead);
  EXPECT_EQ(event.attempt, 2u);
  EXPECT_EQ(static_cast<int>(event.error), 32);
  EXPECT_EQ(event.error_message, "no");
  EXPECT_EQ(event.percent, 4u);
  EXPECT_EQ(event.count, 5u);
  EXPECT_EQ(event.parent, TaskId(6));
  EXPECT_EQ(page->next, (EventPosition{Lsn(8), 0}));
  EXPECT_FALSE(page->complete());
}

// A client that follows would be told the same for ever.
TEST_F(ClientEventsTest, AnAnswerThatGoesBackwardsIsRefused) {
  EXPECT_EQ(CodeOf(AskFrom({Lsn(7), 3}, {Lsn(6), 9}, false).status()), ErrorCode::kMalformed);
  EXPECT_EQ(CodeOf(AskFrom({Lsn(7), 3}, {Lsn(7), 2}, false).status()), ErrorCode::kMalformed);
  EXPECT_TRUE(AskFrom({Lsn(7), 3}, {Lsn(7), 3}, false).ok());
  EXPECT_TRUE(AskFrom({Lsn(7), 3}, {Lsn(2), 0}, true).ok()) << "the log is another";
  EXPECT_TRUE(AskFrom(kEventsFromNow, {Lsn(2), 0}, false).ok());
}

TEST(StatusCodec, HistogramsThatDoNotFitTogetherAreLeftOut) {
  Builder b;
  const std::vector<uint64_t> bounds{1, 2}, counts{1, 2, 3}, short_counts{1, 2};
  std::vector<flatbuffers::Offset<wire::Histogram>> histograms{
      wire::CreateHistogramDirect(b, "good", &bounds, &counts, 7),
      wire::CreateHistogramDirect(b, "short", &bounds, &short_counts, 7),
      wire::CreateHistogramDirect(b, "none", nullptr, nullptr, 7)};
  const auto list = b.CreateVector(histograms);
  wire::StatusReplyBuilder reply(b);
  reply.add_histograms(list);
  b.Finish(reply.Finish());
  const StatusInfo status =
      ReadStatus(*flatbuffers::GetRoot<wire::StatusReply>(b.GetBufferPointer()));
  ASSERT_EQ(status.histograms.size(), 1u);
  EXPECT_EQ(status.histograms[0].name, "good");
  EXPECT_EQ(status.histograms[0].counts, counts);
}

TEST(EventKinds, EachHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (int kind = 0; kind < kEventKinds; ++kind)
    EXPECT_TRUE(names.insert(NameOf(static_cast<EventKind>(kind))).second) << kind;
  EXPECT_FALSE(names.contains("unknown"));
  EXPECT_EQ(NameOf(static_cast<EventKind>(kEventKinds)), "unknown");
  EXPECT_EQ(static_cast<int>(wire::EventKind::MAX), kEventKinds - 1);
}

}  // namespace
}  // namespace zsched
