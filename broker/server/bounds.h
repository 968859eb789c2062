// What a broker keeps in memory for its peers, at most: the home of those bounds. Owned by
// broker/server; docs/configuration.md ("Memory") adds them up.
//
//   peer ──▶ receive queue ──▶ engine ──▶ queries ──▶ query thread ──▶ replies ──▶ send queue ──▶ peer
//              frames        │             count                        count        bytes
//                            └─▶ intake
//                                bytes
#pragma once

#include <cstddef>
#include <cstdint>

#include "broker/transport/router_socket.h"
#include "schemas/limits.h"

namespace zsched::broker {

// --- A connection
// What ZeroMQ keeps for one that said hello to it: two queues, a decoder and an encoder, 8 to 16 KiB
// each.
inline constexpr size_t kConnectionBytes = 64 << 10;
// Frames queued from one peer while the broker has its hands full; the rest waits in the peer's own
// socket. Full frames keep a broker busy for far longer than it takes to ask for more.
inline constexpr int kReceiveFrames = 32;
// What may be queued to be sent. A client that reads at all has a second's worth of a fast network,
// which is how soon it asks again for what was dropped. A worker may have granted kMaxCreditBytes of
// payloads, and may be sent them again in a session that follows at once. The totals are room for a
// few of either that do not read. Acks and small outcomes always pass to one that does.
inline constexpr size_t kOwnSendBytes = 64 << 10;
inline constexpr SocketLimits kClientSocket{
    .receive_frames = kReceiveFrames,
    .send = {.own_bytes = kOwnSendBytes, .peer_bytes = 64 << 20, .total_bytes = 512 << 20}};
inline constexpr SocketLimits kWorkerSocket{.receive_frames = kReceiveFrames,
                                            .send = {.own_bytes = kOwnSendBytes,
                                                     .peer_bytes = 2 * kMaxCreditBytes,
                                                     .total_bytes = size_t{2} << 30}};

// --- The other broker of a pair
inline constexpr SocketLimits kPeerSocket{
    .receive_frames = kReceiveFrames,
    .frame_bytes = int64_t{64} << 20,  // kMaxPeerFrameBytes
    .send = {
        .own_bytes = kOwnSendBytes, .peer_bytes = kOwnSendBytes, .total_bytes = kOwnSendBytes}};
// Of a witness: requests and answers of some 200 bytes.
inline constexpr SocketLimits kWitnessSocket{.receive_frames = kReceiveFrames,
                                             .frame_bytes = 4096,
                                             .send = {.own_bytes = kOwnSendBytes,
                                                      .peer_bytes = kOwnSendBytes,
                                                      .total_bytes = 16 * kOwnSendBytes}};

// --- Observers
// People who look at a broker that need not be active; each is answered like any client.
inline constexpr size_t kMaxObservers = 64;

// --- The open batch
// With this much in the open batch the sockets are not read until the journal has taken it: what
// clients send on waits in their own windows. Some thousands of small tasks: more would not make
// commits cheaper, only larger and later, and three batches take their room in memory for good.
inline constexpr size_t kMaxOpenBytes = 1 << 20;

// --- Queries that are asked and not answered; beyond either bound one is refused, not queued
// Of one client: a reply takes about a millisecond, and nobody should wait for more than some hundred
// of another's.
inline constexpr uint32_t kMaxPeerQueries = 256;
// Of all clients.
inline constexpr uint32_t kMaxQueries = 4096;
// A full one: kMaxQueryIds ids with their letters, or the texts of a list.
inline constexpr size_t kQueryBytes = 18 << 10;
// Answers that the loop has not taken. Enough that none of the two threads waits for the other.
inline constexpr size_t kMaxReplies = 8;
// A full one: a batch closes with the first entry that reaches its target.
inline constexpr size_t kReplyBytes = kBatchTargetBytes + kMaxResultBytes;

// --- Together
inline constexpr size_t kReceiveBytes = (kReceiveFrames + 1) * kMaxFrameBytes;  // and one half read
inline constexpr size_t kQueriesBytes =
    kMaxQueries * kQueryBytes + 2 * (kMaxReplies + 1) * kReplyBytes;  // built, then copied
// Of one connection, and the share of it that the connections do not have in common.
inline constexpr size_t kClientBytes = kConnectionBytes + kReceiveBytes +
                                       kClientSocket.send.peer_bytes + kSubmitWindowBytes +
                                       kMaxPeerQueries * kQueryBytes;
inline constexpr size_t kWorkerBytes =
    kConnectionBytes + kReceiveBytes + kWorkerSocket.send.peer_bytes;

}  // namespace zsched::broker
