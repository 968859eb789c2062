// Dead letters at the client: groups of many answers are added up, and a walk names each death once.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "client/lib/codec.h"
#include "tests/unit/fake_broker.h"
#include "zsched/client.h"

namespace zsched {
namespace {

using testing::Builder;
using testing::FakeBroker;
using testing::FinishBody;

constexpr int64_t kPatienceMs = 20'000;

// Answers DEAD_LIST by pages of two letters out of `letters_` and takes what RETRY and DEAD_DELETE name.
class ClientDeadTest : public ::testing::Test {
 protected:
  struct Death {
    uint64_t letter, task, fingerprint;
  };

  std::unique_ptr<Client> Connect() {
    broker_.SetHandler([this](const FakeBroker::Peer& peer, const FrameView& frame) {
      if (frame.header.type == MessageType::kDeadList)
        return List(peer, *flatbuffers::GetRoot<wire::DeadList>(frame.body.data()));
      if (frame.header.type == MessageType::kRetry || frame.header.type == MessageType::kDeadDelete)
        return Take(peer, *flatbuffers::GetRoot<wire::Retry>(frame.body.data()));  // both are alike
      return false;
    });
    auto client = Client::Create({.brokers = broker_.address()});
    EXPECT_TRUE(client.ok()) << client.status();
    EXPECT_TRUE((*client)->WaitForBroker(kPatienceMs).ok());
    return *std::move(client);
  }

  bool List(const FakeBroker::Peer& peer, const wire::DeadList& list) {
    constexpr size_t kPage = 2;
    Builder b;
    std::vector<wire::DeadLetter> letters;
    std::vector<flatbuffers::Offset<wire::DeadGroup>> groups;
    uint64_t next_cursor = 0, last = 0;
    size_t seen = 0;
    for (const Death& death : deaths_) {
      if (death.letter <= list.cursor() || (list.before() != 0 && death.letter >= list.before()))
        continue;
      if (seen++ == kPage) {
        next_cursor = stuck_ ? list.cursor() : last;
        break;
      }
      last = death.letter;
      const auto at = static_cast<int64_t>(1'000 * death.letter);
      if (list.view() == wire::DeadView::kLetters) letters.emplace_back(death.letter, death.task);
      if (list.view() == wire::DeadView::kGroups)
        groups.push_back(wire::CreateDeadGroupDirect(b, death.fingerprint, "t", 32, "no", 1, at, at,
                                                     death.task));
    }
    before_.push_back(list.before());
    const uint64_t next_letter = deaths_.back().letter + 1;
    auto body = wire::CreateDeadLettersDirect(b, list.request(), nullptr, &letters, &groups,
                                              next_cursor, next_letter);
    broker_.Send(peer, MessageType::kDeadLetters, FinishBody(b, body));
    if (dies_again_) deaths_.push_back({next_letter, 1, 7});
    return true;
  }

  bool Take(const FakeBroker::Peer& peer, const wire::Retry& request) {
    Builder b;
    std::vector<flatbuffers::Offset<wire::ItemResult>> items;
    sizes_.push_back(request.ids()->size());
    for (uint32_t i = 0; i < request.ids()->size(); ++i) {
      const uint64_t letter = request.letters() == nullptr ? 0 : request.letters()->Get(i);
      taken_.push_back(letter);
      items.push_back(
          wire::CreateItemResultDirect(b, request.ids()->Get(i), letter == conflict_ ? 4 : 0, ""));
    }
    broker_.Send(peer, MessageType::kItemReply,
                 FinishBody(b, wire::CreateItemReplyDirect(b, request.request(), &items)));
    return true;
  }

  // The broker's thread has written all that it does for the calls that have returned.
  void Look() {
    broker_.Post([] {});
  }

  // Written by the broker's thread while a call is under way, read after Look().
  std::vector<Death> deaths_ = {{3, 30, 7}, {5, 50, 8}, {6, 60, 7}, {9, 90, 7}, {12, 120, 8}};
  bool dies_again_ = false;  // a task, with each list
  bool stuck_ = false;
  uint64_t conflict_ = 0;  // this letter is one
  std::vector<uint64_t> taken_, before_;
  std::vector<size_t> sizes_;
  FakeBroker broker_;
};

TEST_F(ClientDeadTest, GroupsOfManyAnswersAreAddedUp) {
  auto client = Connect();
  auto groups = client->DeadGroups({});
  ASSERT_TRUE(groups.ok()) << groups.status();
  ASSERT_EQ(groups->size(), 2u);
  EXPECT_EQ(groups->at(0).fingerprint, 7u);
  EXPECT_EQ(groups->at(0).tasks, 3u);
  EXPECT_EQ(groups->at(0).first_died_at_ms, 3'000);
  EXPECT_EQ(groups->at(0).last_died_at_ms, 9'000);
  EXPECT_EQ(groups->at(0).last_task, TaskId(90));
  EXPECT_EQ(groups->at(1).tasks, 2u);
}

TEST_F(ClientDeadTest, ARetryOfAllNamesEachDeathOnceAndNoneThatCameLater) {
  dies_again_ = true;
  conflict_ = 5;
  auto client = Connect();
  auto done = client->RetryDead({});
  ASSERT_TRUE(done.ok()) << done.status();
  Look();
  EXPECT_EQ(taken_, (std::vector<uint64_t>{3, 5, 6, 9, 12}));
  EXPECT_EQ(done->done, 4u);
  EXPECT_EQ(done->passed, 1u);
  // The first answer said which letter was next; nothing from there on is asked for.
  EXPECT_EQ(before_, (std::vector<uint64_t>{0, 13, 13}));
}

TEST_F(ClientDeadTest, APurgeTakesThemLikewise) {
  auto client = Connect();
  auto done = client->PurgeDead({});
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->done, 5u);
  EXPECT_EQ(broker_.received(MessageType::kDeadDelete).size(), 3u);
  EXPECT_EQ(broker_.received(MessageType::kRetry).size(), 0u);
}

TEST_F(ClientDeadTest, ARateBoundsWhatIsSentAtOnce) {
  auto client = Connect();
  auto done = client->RetryDead({}, {.rate_micro = 10'000'000});  // 10 a second: one at a time
  ASSERT_TRUE(done.ok()) << done.status();
  Look();
  EXPECT_EQ(sizes_, std::vector<size_t>(5, 1));
}

TEST_F(ClientDeadTest, ItStopsWhenItIsToldTo) {
  auto client = Connect();
  auto done = client->RetryDead(
      {}, {.rate_micro = 1'000'000, .go_on = [](const DeadProgress& p) { return p.done < 1; }});
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->done, 1u);
  Look();
  EXPECT_EQ(taken_, std::vector<uint64_t>{3});
}

TEST_F(ClientDeadTest, AnAnswerThatGoesBackwardsEndsTheWalk) {
  stuck_ = true;
  auto client = Connect();
  EXPECT_EQ(CodeOf(client->DeadLetters({.cursor = 3}).status()), ErrorCode::kMalformed);
}

}  // namespace
}  // namespace zsched
