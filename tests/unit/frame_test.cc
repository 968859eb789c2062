// Frames: sealing and opening, and what each kind of damage is called.
#include "schemas/frame.h"

#include <gtest/gtest.h>

#include <cstring>

namespace zsched {
namespace {

constexpr std::string_view kBody = "a body of some bytes";

FrameHeader Header(uint16_t flags = 0) {
  FrameHeader header;
  header.type = MessageType::kSubmit;
  header.flags = flags;
  header.number = 0x01020304;
  header.epoch = 5;
  header.session = 0x1122334455667788;
  return header;
}

ErrorCode CodeOfOpening(std::string_view bytes) {
  auto frame = OpenFrame(bytes);
  return frame.ok() ? ErrorCode::kOk : CodeOf(frame.status());
}

// A frame whose header field at `offset` is `value`, with a checksum that is right again.
template <class T>
std::string Altered(size_t offset, T value) {
  FrameHeader header = Header();
  std::memcpy(reinterpret_cast<char*>(&header) + offset, &value, sizeof value);
  return SealFrame(header, kBody);
}

class FrameTest : public testing::TestWithParam<uint16_t> {};
INSTANTIATE_TEST_SUITE_P(Checksums, FrameTest, testing::Values(0, kFlagCrc32));

TEST_P(FrameTest, OpensWhatWasSealed) {
  std::string bytes = SealFrame(Header(GetParam()), kBody);
  auto frame = OpenFrame(bytes);
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_EQ(frame->header.type, MessageType::kSubmit);
  EXPECT_EQ(frame->header.flags, GetParam());
  EXPECT_EQ(frame->header.epoch, 5u);
  EXPECT_EQ(frame->header.session, 0x1122334455667788u);
  EXPECT_EQ(frame->body, kBody);
  EXPECT_EQ(frame->body.data(), bytes.data() + kFrameHeaderBytes);
}

TEST_P(FrameTest, AnEmptyBodyIsAFrame) {
  auto bytes = SealFrame(Header(GetParam()), "");
  EXPECT_EQ(bytes.size(), kFrameHeaderBytes);
  EXPECT_EQ(CodeOfOpening(bytes), ErrorCode::kOk);
}

TEST_P(FrameTest, EverySingleBitFlipIsCaught) {
  const std::string good = SealFrame(Header(GetParam()), kBody);
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ 1 << bit % 8);
    EXPECT_NE(CodeOfOpening(bad), ErrorCode::kOk) << "bit " << bit;
  }
}

TEST_P(FrameTest, EveryShorterOrLongerFrameIsCaught) {
  const std::string good = SealFrame(Header(GetParam()), kBody);
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_EQ(CodeOfOpening(good.substr(0, size)), ErrorCode::kTruncated) << size;
  EXPECT_EQ(CodeOfOpening(good + "x"), ErrorCode::kTruncated);
}

TEST_P(FrameTest, TwoFramesDoNotSwapBodies) {
  std::string one = SealFrame(Header(GetParam()), "body one");
  std::string two = SealFrame(Header(GetParam()), "body two");
  EXPECT_EQ(CodeOfOpening(one.substr(0, kFrameHeaderBytes) + two.substr(kFrameHeaderBytes)),
            ErrorCode::kBadChecksum);
}

TEST(Frame, EachDamageHasItsCode) {
  std::string frame = SealFrame(Header(), kBody);
  auto with = [&](size_t offset, char byte) {
    std::string bytes = frame;
    bytes[offset] = byte;
    return bytes;
  };
  EXPECT_EQ(CodeOfOpening(with(0, 'X')), ErrorCode::kBadMagic);
  EXPECT_EQ(CodeOfOpening(with(4, 9)), ErrorCode::kUnsupportedVersion);
  EXPECT_EQ(CodeOfOpening(with(16, 9)), ErrorCode::kBadChecksum);
  EXPECT_EQ(CodeOfOpening(with(kFrameHeaderBytes, 'X')), ErrorCode::kBadChecksum);
  EXPECT_EQ(CodeOfOpening(with(8, 0x7F)), ErrorCode::kTruncated);
  EXPECT_EQ(CodeOfOpening(with(12, 1)), ErrorCode::kBadChecksum);
  EXPECT_EQ(CodeOfOpening(Altered<uint16_t>(offsetof(FrameHeader, flags), 2)),
            ErrorCode::kMalformed);
  EXPECT_EQ(CodeOfOpening(""), ErrorCode::kTruncated);
}

// The order in which a frame is checked (docs/protocol.md §2): the first failure decides.
TEST(Frame, TheFirstFailureDecides) {
  std::string all_wrong(kFrameHeaderBytes, '\xFF');
  EXPECT_EQ(CodeOfOpening(all_wrong), ErrorCode::kBadMagic);
  std::memcpy(all_wrong.data(), "ZSCH", 4);
  EXPECT_EQ(CodeOfOpening(all_wrong), ErrorCode::kUnsupportedVersion);
  all_wrong[4] = kProtocolVersion;
  EXPECT_EQ(CodeOfOpening(all_wrong), ErrorCode::kMalformed);
  std::memset(all_wrong.data() + 6, 0, 2);
  EXPECT_EQ(CodeOfOpening(all_wrong), ErrorCode::kTruncated);
  std::memset(all_wrong.data() + 8, 0, 4);
  EXPECT_EQ(CodeOfOpening(all_wrong), ErrorCode::kBadChecksum);
}

TEST(Frame, HeaderStandsAsTheProtocolSays) {
  std::string bytes = SealFrame(Header(kFlagCrc32), kBody);
  EXPECT_EQ(bytes.substr(0, 4), "ZSCH");
  EXPECT_EQ(bytes[4], 1);
  EXPECT_EQ(bytes[5], 16);
  EXPECT_EQ(bytes.substr(6, 2), std::string_view("\1\0", 2));
  EXPECT_EQ(bytes.substr(8, 4), std::string_view("\x14\0\0\0", 4));
  EXPECT_EQ(bytes.substr(12, 4), std::string_view("\4\3\2\1", 4));
  EXPECT_EQ(bytes.substr(16, 8), std::string_view("\5\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(bytes.substr(24, 8), "\x88\x77\x66\x55\x44\x33\x22\x11");
  EXPECT_EQ(bytes.substr(36, 4), std::string_view("\0\0\0\0", 4)) << "CRC-32 is zero-extended";
}

TEST(AlignedCopy, GivesAlignedBytesAndCopiesOnlyWhenItMust) {
  alignas(8) char memory[64];
  for (size_t i = 0; i < sizeof memory; ++i) memory[i] = static_cast<char>(i);
  AlignedCopy copy;
  EXPECT_EQ(copy.Align({memory, 20}).data(), memory);
  for (size_t offset = 1; offset < 8; ++offset)
    for (size_t size : {0u, 1u, 7u, 8u, 9u, 40u}) {
      std::string_view bytes(memory + offset, size), aligned = copy.Align(bytes);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(aligned.data()) % 8, 0u);
      EXPECT_EQ(aligned, bytes);
    }
}

TEST(FrameNumberTest, OneFollowsZeroAndTheLargest) {
  EXPECT_EQ(NumberAfter(0), 1u);
  EXPECT_EQ(NumberAfter(1), 2u);
  EXPECT_EQ(NumberAfter(UINT32_MAX - 1), UINT32_MAX);
  EXPECT_EQ(NumberAfter(UINT32_MAX), 1u);
}

TEST(FrameNumberTest, PlacesHoldAcrossTheWrap) {
  constexpr uint32_t kMax = UINT32_MAX;
  struct Case {
    uint32_t last, number;
    FramePlace place;
  };
  const Case cases[] = {
      {0, 1, FramePlace::kNext},
      {0, 2, FramePlace::kGap},
      {5, 6, FramePlace::kNext},
      {5, 5, FramePlace::kRepeat},
      {5, 4, FramePlace::kRepeat},
      {5, 1, FramePlace::kRepeat},
      {5, 7, FramePlace::kGap},
      {5, 1'000'000, FramePlace::kGap},
      {kMax, 1, FramePlace::kNext},
      {kMax, kMax, FramePlace::kRepeat},
      {kMax, 2, FramePlace::kGap},
      {kMax, kMax - 9, FramePlace::kRepeat},
      {kMax - 1, kMax, FramePlace::kNext},
      {kMax - 1, 1, FramePlace::kGap},
      {1, kMax, FramePlace::kRepeat},
      {1, 2, FramePlace::kNext},
      {7, 7u + 0x7FFFFFFF, FramePlace::kGap},
      {7, 7u + 0x80000000, FramePlace::kRepeat},
  };
  for (const Case& c : cases)
    EXPECT_EQ(PlaceAfter(c.last, c.number), c.place) << c.number << " after " << c.last;
}

}  // namespace
}  // namespace zsched
