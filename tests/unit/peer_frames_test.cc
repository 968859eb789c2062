// Frames between brokers: what was sealed is what is opened, and nothing else is.
#include "broker/replication/peer_frames.h"

#include <gtest/gtest.h>

#include "flatbuffers/flatbuffers.h"
#include "schemas/errors.h"
#include "schemas/frame.h"
#include "schemas/peer_generated.h"
#include "tests/sim/random.h"

namespace zsched::broker {
namespace {

Register SomeRegister() {
  return {.epoch = MakeEpoch(3, kBackup),
          .active = kBackup,
          .in_sync = kAllNodes,
          .cluster = Uuid{7, 8}};
}

template <class Message>
Message Through(const Message& message, AlignedCopy& aligned) {
  absl::StatusOr<PeerMessage> opened = OpenPeerFrame(aligned.Align(SealPeerFrame(message)));
  EXPECT_TRUE(opened.ok()) << opened.status();
  return std::get<Message>(*std::move(opened));
}

TEST(PeerFrames, AHeartbeatSaysWhereABrokerStands) {
  AlignedCopy aligned;
  PeerHeartbeat beat;
  beat.state.life = 42;
  beat.state.role = wire::Role::kStandby;
  beat.state.known = SomeRegister();
  beat.state.end = {.lsn = Lsn(9), .epoch = MakeEpoch(2, kPrimary), .hash = 77};
  beat.state.stuck = true;
  beat.node = kBackup;
  beat.address = ":5570";
  beat.worker_address = "10.0.0.2:99";
  const PeerHeartbeat back = Through(beat, aligned);
  EXPECT_EQ(back.state.life, 42u);
  EXPECT_EQ(back.state.role, wire::Role::kStandby);
  EXPECT_EQ(back.state.known, beat.state.known);
  EXPECT_EQ(back.state.end, beat.state.end);
  EXPECT_TRUE(back.state.stuck);
  EXPECT_EQ(back.node, kBackup);
  EXPECT_EQ(back.address, ":5570");
  EXPECT_EQ(back.worker_address, "10.0.0.2:99");
}

TEST(PeerFrames, AnAppendHasTheBytesOfTheLog) {
  AlignedCopy aligned;
  const std::string records(3000, 'r');
  const PeerAppend append{.epoch = Epoch(9),
                          .life = 5,
                          .part = {.epoch = Epoch(4),
                                   .first_lsn = Lsn(100),
                                   .count = 3,
                                   .hash_before = 123,
                                   .records = records}};
  const PeerAppend back = Through(append, aligned);
  EXPECT_EQ(back.epoch, Epoch(9));
  EXPECT_EQ(back.life, 5u);
  EXPECT_EQ(back.part.epoch, Epoch(4));
  EXPECT_EQ(back.part.first_lsn, Lsn(100));
  EXPECT_EQ(back.part.last_lsn(), Lsn(102));
  EXPECT_EQ(back.part.hash_before, 123u);
  EXPECT_EQ(back.part.records, records);
}

TEST(PeerFrames, APartOfASnapshotHasTheRowsAndTheLastOneTheEndOfTheLog) {
  AlignedCopy aligned;
  const std::string rows(2000, 'r'), records(300, 'l');
  PeerSnapshotPart message{
      .epoch = Epoch(9), .life = 5, .part = {.number = 7, .hash = 123, .rows = rows}};
  PeerSnapshotPart back = Through(message, aligned);
  EXPECT_EQ(back.life, 5u);
  EXPECT_EQ(back.part.number, 7u);
  EXPECT_EQ(back.part.hash, 123u);
  EXPECT_EQ(back.part.rows, rows);
  EXPECT_FALSE(back.part.last);
  message.part.last = true;
  message.part.tail = {
      .epoch = Epoch(4), .first_lsn = Lsn(100), .count = 3, .hash_before = 77, .records = records};
  back = Through(message, aligned);
  EXPECT_TRUE(back.part.last);
  EXPECT_EQ(back.part.tail.first_lsn, Lsn(100));
  EXPECT_EQ(back.part.tail.records, records);
  const PeerSnapshotFetch fetch = Through(PeerSnapshotFetch{Epoch(9), 5, 8, true}, aligned);
  EXPECT_EQ(fetch.part, 8u);
  EXPECT_TRUE(fetch.again);
}

TEST(PeerFrames, SmallOnesComeThrough) {
  AlignedCopy aligned;
  const PeerAppended appended = Through(PeerAppended{Epoch(4), 5, Lsn(6)}, aligned);
  EXPECT_EQ(appended.epoch, Epoch(4));
  EXPECT_EQ(appended.life, 5u);
  EXPECT_EQ(appended.lsn, Lsn(6));
  const LogEnd end{.lsn = Lsn(9), .epoch = Epoch(4), .hash = 77};
  EXPECT_EQ(Through(PeerFetch{Epoch(4), 5, end}, aligned).end, end);
  EXPECT_EQ(Through(PeerDiverged{Epoch(4), 5, Lsn(6)}, aligned).lsn, Lsn(6));
  EXPECT_EQ(Through(PeerHandover{Epoch(4), Lsn(6)}, aligned).end, Lsn(6));
  EXPECT_EQ(Through(PeerRegisterRead{5, 6}, aligned).number, 6u);
  const PeerRegisterSwap swap{5, 6, 7, Register{}, SomeRegister()};
  EXPECT_EQ(Through(swap, aligned).witness_life, 7u);
  EXPECT_TRUE(Through(swap, aligned).expected.empty());
  EXPECT_EQ(Through(swap, aligned).wanted, SomeRegister());
  EXPECT_EQ(*Through(PeerRegisterAnswer{5, 6, 7, SomeRegister()}, aligned).value, SomeRegister());
  const absl::Status lost = Error(ErrorCode::kDataLoss, "gone");
  const auto answer = Through(PeerRegisterAnswer{5, 6, 7, lost}, aligned);
  EXPECT_EQ(CodeOf(answer.value.status()), ErrorCode::kDataLoss);
  EXPECT_EQ(MessageOf(answer.value.status()), "gone");
}

template <class Build>
absl::Status Opened(MessageType type, Build build) {
  flatbuffers::FlatBufferBuilder b;
  b.Finish(build(b));
  AlignedCopy aligned;
  const std::string frame =
      SealFrame({.type = type}, {reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize()});
  return OpenPeerFrame(aligned.Align(frame)).status();
}

TEST(PeerFrames, ValuesThatNoBrokerSendsAreRefused) {
  const wire::Uuid nobody(0, 0);
  const wire::RegisterValue none(0, nobody, 0, 0), odd(4, wire::Uuid(1, 2), 1, 3);
  const wire::LogEnd end(1, 4, 5);
  auto state = [&](uint64_t life, uint8_t node, const wire::RegisterValue& known, uint8_t role) {
    return Opened(MessageType::kPeerState, [&](auto& b) {
      return wire::CreatePeerState(b, life, node, static_cast<wire::Role>(role), &known, &end);
    });
  };
  EXPECT_TRUE(state(1, 0, none, 2).ok());
  EXPECT_EQ(CodeOf(state(0, 0, none, 2)), ErrorCode::kMalformed) << "no life";
  EXPECT_EQ(CodeOf(state(1, 2, none, 2)), ErrorCode::kMalformed) << "no such node";
  EXPECT_EQ(CodeOf(state(1, 0, none, 7)), ErrorCode::kMalformed) << "no such role";
  EXPECT_EQ(CodeOf(state(1, 0, odd, 2)), ErrorCode::kMalformed)
      << "the epoch is the primary's, and the backup is said to be active";
  auto append = [&](uint64_t epoch, uint64_t log_epoch, uint64_t first, uint32_t count) {
    return Opened(MessageType::kAppend, [&](auto& b) {
      const auto records = b.CreateVector(std::vector<uint8_t>(8));
      return wire::CreateAppend(b, 1, epoch, log_epoch, first, count, 0, records);
    });
  };
  EXPECT_TRUE(append(8, 4, 1, 1).ok());
  EXPECT_EQ(CodeOf(append(4, 8, 1, 1)), ErrorCode::kMalformed) << "records of a later epoch";
  EXPECT_EQ(CodeOf(append(8, 4, 0, 1)), ErrorCode::kMalformed);
  EXPECT_EQ(CodeOf(append(8, 4, 1, 0)), ErrorCode::kMalformed);
  EXPECT_EQ(CodeOf(append(UINT64_MAX, 4, 1, 1)), ErrorCode::kMalformed);
  auto last_part = [&](uint64_t log_epoch, uint64_t first, uint32_t count) {
    return Opened(MessageType::kSnapshotPart, [&](auto& b) {
      const auto bytes = b.CreateVector(std::vector<uint8_t>(8));
      return wire::CreateSnapshotPart(b, 1, 8, 0, 0, bytes, true, log_epoch, first, count, 0,
                                      bytes);
    });
  };
  EXPECT_TRUE(last_part(8, 1, 1).ok());
  EXPECT_EQ(CodeOf(last_part(12, 1, 1)), ErrorCode::kMalformed) << "records of a later epoch";
  EXPECT_EQ(CodeOf(last_part(8, 0, 1)), ErrorCode::kMalformed);
  EXPECT_EQ(CodeOf(last_part(8, 1, 0)), ErrorCode::kMalformed);
  EXPECT_EQ(
      CodeOf(Opened(MessageType::kHeartbeat, [](auto& b) { return wire::CreateHeartbeat(b); })),
      ErrorCode::kUnknownMessage);
  EXPECT_EQ(CodeOf(Opened(MessageType::kAppend, [](auto& b) { return wire::CreateHeartbeat(b); })),
            ErrorCode::kMalformed)
      << "an append without records";
}

// The checksum is right: it is the body that is not.
TEST(PeerFrames, DamagedBodiesAreRefusedOrHarmless) {
  sim::Random random(1);
  const std::string records(64, 'r');
  const std::vector<PeerMessage> messages = {
      PeerHeartbeat{{.life = 1, .known = SomeRegister(), .end = {}}, kPrimary, ":1", ":2"},
      PeerAppend{Epoch(9), 5, {Epoch(4), Lsn(1), 1, 2, records}}, PeerFetch{Epoch(4), 5, {}},
      PeerRegisterSwap{5, 6, 7, Register{}, SomeRegister()},
      PeerRegisterAnswer{5, 6, 7, SomeRegister()}};
  size_t refused = 0;
  AlignedCopy aligned;
  for (int round = 0; round < 20'000; ++round) {
    std::string frame = SealPeerFrame(messages[static_cast<size_t>(round) % messages.size()]);
    FrameHeader header;
    std::memcpy(&header, frame.data(), sizeof header);
    std::string body = frame.substr(kFrameHeaderBytes);
    for (int64_t n = random.Between(1, 3); n > 0; --n)
      body[static_cast<size_t>(random.Between(0, static_cast<int64_t>(body.size()) - 1))] =
          static_cast<char>(random.Between(0, 255));
    if (random.Chance(0.2)) body.resize(static_cast<size_t>(random.Between(0, 16)));
    const std::string damaged = SealFrame(header, body);
    refused += !OpenPeerFrame(aligned.Align(damaged)).ok();
  }
  EXPECT_GT(refused, 2'000u);
}

}  // namespace
}  // namespace zsched::broker
