// Which SUBMIT frames enter the open batch at once, and which wait for others. Owned by
// broker/server; pure.
//
// A commit that has megabytes in it takes as long as the disk needs for them, for everybody whose task
// is in it or behind it. A client that submits as much as it can would so set the pace of clients that
// submit a task now and then. While both are there, frames of the heavy ones are parked, and enter one by
// one: so many bytes a batch, then a pause that is the longer the longer the batch's commit took. So
// light clients wait for one heavy commit at most, and seldom. While only heavy ones are there, nothing
// waits and nothing is copied.
//
//   SUBMIT ──▶ Enters? ──yes──▶ core                       light: at most kLightBytes in kRateMs
//                 └──no──▶ parked, by client ──Next──▶ core      clients take turns
//
// Frames of a client keep their order. What is parked was not acknowledged: it is lost with its session,
// and the client sends it again.
//
// Example:
//   if (intake.Enters(from, body.size(), now)) core.OnSubmit(from, *submit, body, now);
//   else if (!intake.Park(from, body, now)) ...refuse: it is beyond the client's window...
//   while (auto parked = intake.Next({now, idle, room})) core.OnSubmit(parked->from, ...);
//
// Threads: one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "schemas/ids.h"
#include "schemas/limits.h"

namespace zsched::broker {

struct IntakeLimits {
  // A client is light while it submits no more than this in kRateMs: single tasks as fast as they are
  // acknowledged, one after the other.
  size_t light_bytes = 64 << 10;
  // Of heavy frames in a batch, unless one frame alone is more: what the disk takes in about the time
  // that a commit of nothing takes.
  size_t batch_bytes = 256 << 10;
  // Parked for one client: its window (docs/protocol.md).
  size_t parked_bytes = kSubmitWindowBytes;
  size_t parked_frames = kMaxOutstandingSubmits;
};

class Intake {
 public:
  // Over which a client's rate is taken, and after which one that was light is forgotten.
  static constexpr int64_t kRateMs = 100;
  // What heavy commits may add to the wait of a light client on average: less than a commit of its own
  // takes. Pauses follow from it: heavy clients have the time that is left by commits of a millisecond
  // nearly to a third, and by long ones, which hurt more, to a tenth; never less, or they would starve.
  static constexpr int64_t kMeanWaitUs = 150;
  static constexpr int64_t kMaxPauseFactor = 9;
  // A heavy frame that may enter still waits so long for a batch without light ones.
  static constexpr int64_t kPatienceMs = 5;

  struct Parked {
    SessionId from;
    std::string body;
    bool operator==(const Parked&) const = default;
  };
  // What the loop is at.
  struct Round {
    int64_t now_ms = 0;
    bool idle = false;  // nothing is at the journal, and the open batch is empty
    bool room = true;   // the open batch is not full
  };

  explicit Intake(const IntakeLimits& limits = {}) : limits_(limits) {}

  // Counts the frame. False: it must be parked.
  bool Enters(SessionId from, size_t bytes, int64_t now_ms);
  // False: the client has more parked than its window allows; refuse the frame.
  bool Park(SessionId from, std::string_view body, int64_t now_ms);
  // The next parked frame that may enter now.
  std::optional<Parked> Next(const Round& round);
  // The session's next frame, whatever the pace: it says goodbye.
  std::optional<Parked> NextOf(SessionId from);
  // The session is over.
  void Forget(SessionId from);

  // The open batch went to the journal; the one at the journal is durable.
  void OnBatchTaken();
  void OnCommitted(uint64_t commit_us, int64_t now_ms);

  // The first moment after now_ms at which Next may have something that it has not now; INT64_MAX: not
  // before a commit ends.
  int64_t due_ms(int64_t now_ms) const;
  size_t parked() const { return turns_.size(); }  // clients with parked frames

 private:
  struct Client {
    int64_t since_ms = 0;  // begin of the span of kRateMs that `bytes` counts
    size_t bytes = 0, bytes_before = 0;
    std::deque<std::string> frames;
    size_t parked_bytes = 0;
  };
  struct Light {
    SessionId client;
    int64_t seen_ms = INT64_MIN / 2;
  };

  size_t CountRate(Client& client, size_t bytes, int64_t now_ms) const;
  void SawLight(SessionId from, int64_t now_ms);
  // Whether others than this client are light.
  bool Contended(SessionId from, int64_t now_ms) const;
  bool MayEnter(size_t bytes, const Round& round) const;
  std::string TakeFrame(Client& client);

  IntakeLimits limits_;
  absl::flat_hash_map<uint64_t, Client> clients_;  // by session
  std::deque<SessionId> turns_;                    // those with parked frames
  Light newest_, other_;  // the light client seen last, and the last one that is not it
  int64_t may_enter_ms_ = INT64_MIN / 2;          // when the pause is over, or since when one waits
  size_t open_bytes_ = 0, at_journal_bytes_ = 0;  // of heavy frames that entered while contended
};

}  // namespace zsched::broker
