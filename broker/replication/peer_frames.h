// What two brokers, and a broker and a witness, say to each other: frames of schemas/peer.fbs as values, both ways. Owned by
// broker/replication. Pure.
//
//   PeerMessage ──Seal──▶ frame ──(a network)──▶ Open ──▶ PeerMessage, verified
//
// Example:
//   std::string frame = SealPeerFrame(PeerAppended{epoch, life, lsn});
//   absl::StatusOr<PeerMessage> message = OpenPeerFrame(frame);
//   if (auto* appended = std::get_if<PeerAppended>(&*message)) …
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/statusor.h"
#include "broker/core/merge.h"
#include "broker/replication/leader.h"
#include "broker/replication/register.h"
#include "broker/replication/role.h"
#include "broker/replication/snapshot.h"
#include "schemas/ids.h"

namespace zsched::broker {

// The largest frame that is taken from a peer. A part is kMaxAppendBytes or one record, and a record is hardly more
// than the frame that it was decided on (kMaxFrameBytes); there is room for one that has become several times that.
inline constexpr size_t kMaxPeerFrameBytes = 64 << 20;

struct PeerHeartbeat {
  PeerState state;
  uint8_t node = kPrimary;
  std::string address, worker_address;  // of its endpoints, as wire.fbs has them in BrokerInfo
};
struct PeerAppend {
  Epoch epoch;
  uint64_t life = 0;
  LogPart part;
};
struct PeerAppended {
  Epoch epoch;
  uint64_t life = 0;
  Lsn lsn;
};
struct PeerFetch {
  Epoch epoch;
  uint64_t life = 0;
  LogEnd end;
};
struct PeerDiverged {
  Epoch epoch;
  uint64_t life = 0;
  Lsn lsn;
};
struct PeerHandover {
  Epoch epoch;
  Lsn end;
};
struct PeerSnapshotFetch {
  Epoch epoch;
  uint64_t life = 0;
  uint32_t part = 0;
  bool again = false;
};
struct PeerSnapshotPart {
  Epoch epoch;
  uint64_t life = 0;
  SnapshotPart part;
};
struct PeerMerge {
  Epoch epoch;
  MergePart part;
};
// Of the register at a witness: docs/ha.md.
struct PeerRegisterRead {
  uint64_t life = 0, number = 0;
};
struct PeerRegisterSwap {
  uint64_t life = 0, number = 0, witness_life = 0;
  Register expected, wanted;
};
struct PeerRegisterAnswer {
  uint64_t life = 0, number = 0, witness_life = 0;
  absl::StatusOr<Register> value;
};

using PeerMessage = std::variant<PeerHeartbeat, PeerAppend, PeerAppended, PeerFetch, PeerDiverged,
                                 PeerHandover, PeerSnapshotFetch, PeerSnapshotPart, PeerMerge,
                                 PeerRegisterRead, PeerRegisterSwap, PeerRegisterAnswer>;

// The whole frame, outside of any session.
std::string SealPeerFrame(const PeerMessage& message);

// Takes what SealPeerFrame writes. The bytes of an append, a snapshot or a merge point into `frame`, which starts at a multiple of 8.
// TRUNCATED, BAD_MAGIC, …: as OpenFrame; UNKNOWN_MESSAGE: not of this endpoint; MALFORMED: its body is not what its
// type says, or has a value that no broker sends.
absl::StatusOr<PeerMessage> OpenPeerFrame(std::string_view frame);

}  // namespace zsched::broker
