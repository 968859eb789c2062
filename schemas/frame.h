// The frame that every message travels in: one fixed header, then one FlatBuffer
// (schemas/wire.fbs). Owned by schemas.
//
//    0       4         5      6       8            12         16      24        32         40
//    | magic | version | type | flags | body_bytes | number | epoch | session | checksum | body…
//
// All little-endian. The checksum binds the first 32 header bytes and the body; its kind is a flag,
// so that a peer without XXH3 (Python's standard library) can ask for CRC-32: whoever opens a
// session chooses, the other side answers in kind. docs/protocol.md has every message.
//
// A session is a numbered stream in each direction: its frames have the numbers 1, 2, 3, … and after
// the last one 1 again; 0 is outside of a session. PlaceAfter says what a receiver makes of a number.
//
// Example:
//   std::string bytes = SealFrame({.type = MessageType::kHeartbeat, .session = id}, body);
//   absl::StatusOr<FrameView> frame = OpenFrame(bytes);   // magic, version, sizes, checksum hold
//
// Threads: pure functions.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "schemas/errors.h"
#include "schemas/ids.h"

namespace zsched {

static_assert(std::endian::native == std::endian::little,
              "frames and log records are little-endian");

// Who sends what is in docs/protocol.md §3. Numbers are never reused.
enum class MessageType : uint8_t {
  // any peer
  kDiscover = 1,
  kView = 2,
  kHello = 3,
  kWelcome = 4,
  kHeartbeat = 5,
  kHeartbeatAck = 6,
  kError = 7,
  kGoodbye = 8,
  // client endpoint
  kSubmit = 16,
  kSubmitAck = 17,
  kWait = 18,
  kOutcomes = 19,
  kGet = 20,
  kList = 21,
  kTaskInfos = 22,
  kRetry = 23,
  kItemReply = 24,
  kStatus = 25,
  kStatusReply = 26,
  kWorkerList = 27,
  kWorkerInfos = 28,
  kWorkerDrain = 29,
  kCancelTasks = 30,
  kQueueSet = 31,
  kQueueList = 32,
  kQueueInfos = 33,
  kDeadList = 38,
  kDeadLetters = 39,
  kDeadDelete = 40,
  kScheduleSet = 42,
  kSchedulePause = 43,
  kScheduleRun = 44,
  kScheduleRemove = 45,
  kScheduleList = 46,
  kScheduleInfos = 47,
  kTypeSet = 56,
  kTypeList = 57,
  kTypeInfos = 58,
  kExplain = 34,
  kExplanation = 35,
  kHistory = 36,
  kHistoryInfo = 37,
  kLogs = 48,
  kLogPages = 49,
  kClusterCommand = 50,
  kEvents = 51,
  kEventPage = 52,
  // worker endpoint
  kWorkerHello = 64,
  kWorkerWelcome = 65,
  kCredit = 66,
  kTasks = 67,
  kResults = 68,
  kResultAck = 69,
  kRelease = 70,
  kDrain = 71,
  kCancel = 72,
  kProgress = 73,
  kOutput = 74,
  kRecall = 75,
  // peer endpoint: docs/ha.md
  kPeerState = 80,
  kAppend = 81,
  kAppended = 82,
  kFetch = 83,
  kDiverged = 84,
  kHandover = 85,
  kRegisterRead = 86,
  kRegisterSwap = 87,
  kRegisterAnswer = 88,
  kSnapshotFetch = 89,
  kSnapshotPart = 90,
  kMerge = 91,
};

// What a peer says before it has a session: such frames have no number.
constexpr bool IsGreeting(MessageType type) {
  return type == MessageType::kDiscover || type == MessageType::kHello ||
         type == MessageType::kWorkerHello;
}

// What a client may send that only observes (HELLO): questions that the tables answer, and commands to the cluster.
constexpr bool IsObservers(MessageType type) {
  switch (type) {
    case MessageType::kHeartbeat:
    case MessageType::kGoodbye:
    case MessageType::kGet:
    case MessageType::kList:
    case MessageType::kStatus:
    case MessageType::kDeadList:
    case MessageType::kQueueList:
    case MessageType::kTypeList:
    case MessageType::kScheduleList:
    case MessageType::kHistory:
    case MessageType::kLogs:
    case MessageType::kEvents:
    case MessageType::kClusterCommand:
      return true;
    default:
      return false;
  }
}

inline constexpr uint32_t kFrameMagic = 0x4843535A;  // "ZSCH" in memory order
inline constexpr uint8_t kProtocolVersion = 1;
inline constexpr uint16_t kFlagCrc32 = 1 << 0;  // checksum is CRC-32 (zlib) instead of XXH3-64
inline constexpr uint16_t kKnownFlags = kFlagCrc32;

struct FrameHeader {
  uint32_t magic = kFrameMagic;
  uint8_t version = kProtocolVersion;
  MessageType type{};
  uint16_t flags = 0;
  uint32_t body_bytes = 0;
  uint32_t number = 0;   // in its session and direction; 0 outside of a session
  uint64_t epoch = 0;    // sender's: the broker's own, or the highest a client or worker has seen
  uint64_t session = 0;  // 0 before WELCOME
  uint64_t checksum = 0;
};
inline constexpr size_t kFrameHeaderBytes = 40;
static_assert(sizeof(FrameHeader) == kFrameHeaderBytes);
static_assert(offsetof(FrameHeader, body_bytes) == 8 && offsetof(FrameHeader, epoch) == 16 &&
              offsetof(FrameHeader, checksum) == 32);
static_assert(kFrameHeaderBytes % 8 == 0, "the body must be 8-aligned when the frame is");

// A verified frame. `body` points into the bytes given to OpenFrame and lives as long as they do.
struct FrameView {
  FrameHeader header;
  std::string_view body;
};

// Checks size, magic, version, flags, body_bytes and checksum, in that order; the first that fails
// names the code: TRUNCATED, BAD_MAGIC, UNSUPPORTED_VERSION, MALFORMED, BAD_CHECKSUM.
// The body is not looked into.
absl::StatusOr<FrameView> OpenFrame(std::string_view bytes);

// Fills magic, version, body_bytes and checksum into a copy of `header` and writes it to `out`
// (kFrameHeaderBytes).
void SealHeader(FrameHeader header, std::string_view body, char* out);

// Header and body as one string.
std::string SealFrame(const FrameHeader& header, std::string_view body);

// The number of the frame that follows number `last`; 0 is skipped.
constexpr uint32_t NumberAfter(uint32_t last) { return last == UINT32_MAX ? 1 : last + 1; }

// What a frame of a session is to the one who has received its stream up to `last`.
enum class FramePlace : uint8_t {
  kNext,
  kRepeat,  // it was here before: it changes nothing
  kGap,     // frames before it were lost, or it has overtaken them: the stream cannot be trusted
};
// `number` is not 0. A stream wraps, so half of all numbers are before `last` and half behind it.
constexpr FramePlace PlaceAfter(uint32_t last, uint32_t number) {
  if (number == NumberAfter(last)) return FramePlace::kNext;
  return static_cast<int32_t>(number - last) > 0 ? FramePlace::kGap : FramePlace::kRepeat;
}

// A copy of `bytes` whose first byte is 8-aligned, reused between frames; FlatBuffers needs it and
// ZeroMQ's zero-copy receive does not give it. Returns `bytes` itself when it is aligned already.
class AlignedCopy {
 public:
  std::string_view Align(std::string_view bytes);

 private:
  std::unique_ptr<uint64_t[]> words_;
  size_t capacity_ = 0;  // in words
};

}  // namespace zsched
