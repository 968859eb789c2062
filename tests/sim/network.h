// The connections between processes: ZeroMQ over TCP as the protocol sees it. Owned by tests/sim.
//
//   DEALER socket ──queue──▶ link (in order, delayed, can be cut) ──▶ ROUTER endpoint
//
// A socket connects by itself, keeps frames while it has no link, and gets a new link, with a new routing id, when the old
// one is cut. A cut loses everything in flight both ways; either side may go on sending into it for a while (half open).
// TCP loses, repeats and reorders nothing within a connection that lives; the profile may ask for all three, because
// sessions must stand them (docs/protocol.md §2).
//
// Example:
//   network.Listen("tcp://sim:5570", [&](const std::string& routing_id, std::string frame) { … });
//   SocketId socket = network.Connect("tcp://sim:5570", [&](std::string frame) { … });
//   network.Send(socket, frame);
//
// Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>

#include "tests/sim/profile.h"
#include "tests/sim/scheduler.h"

namespace zsched::sim {

using SocketId = uint64_t;  // 0: none
enum class Sent : uint8_t { kSent, kFull, kGone };

class Network {
 public:
  // `faults` outlives the network and may change at any time.
  Network(Scheduler& scheduler, const FaultProfile& faults)
      : scheduler_(scheduler), faults_(faults), random_(scheduler.random().Fork()) {}

  // --- The ROUTER side
  using Accept = std::function<void(const std::string& routing_id, std::string frame)>;
  void Listen(const std::string& endpoint, Accept accept);
  // The process behind the endpoint is gone, and all its links with it.
  void Unlisten(const std::string& endpoint);
  // kGone: no such link, or its end was noticed. kSent says nothing about arrival.
  Sent SendToPeer(const std::string& routing_id, std::string frame);
  // False: as many frames wait for the peer as may.
  bool HasRoom(const std::string& routing_id) const;
  // A frame of this link was read: room for one more.
  void ReadFrom(const std::string& routing_id);

  // --- The DEALER side
  using Deliver = std::function<void(std::string frame)>;
  // `owner` is the process that connects: what Split tells apart.
  SocketId Connect(uint64_t owner, const std::string& endpoint, Deliver deliver);
  // False: as many frames wait as may.
  bool Send(SocketId socket, std::string frame);
  void ReadBy(SocketId socket);
  // Nothing is delivered any more. What is on its way to the broker may arrive or not.
  void Close(SocketId socket);

  // --- Faults
  void CutOne();
  void Partition(int64_t for_us);
  // These owners do not reach these endpoints.
  using Apart = std::function<bool(uint64_t owner, const std::string& endpoint)>;
  void Split(int64_t for_us, Apart apart);
  void Heal() { partitioned_until_us_ = split_until_us_ = 0; }

 private:
  struct Link {
    SocketId socket = 0;  // 0: closed by its owner
    std::string endpoint;
    Life life;  // of what is in flight; null: cut
    int64_t up_last_us = 0, down_last_us = 0;
    int64_t up_waiting = 0, down_waiting = 0;  // sent and not read
  };
  struct Socket {
    uint64_t owner = 0;
    std::string endpoint;
    Deliver deliver;
    std::deque<std::string> queue;
    std::string link;  // routing id; empty: none
  };

  int64_t ArrivalUs(int64_t& last_us);
  bool IsReachable(const Socket& from) const;
  template <class Arrive>
  void Transmit(const Link& link, int64_t& last_us, int64_t& waiting, Arrive arrive);
  void TryConnect(SocketId socket);
  void Establish(SocketId socket);
  void SendUp(const std::string& routing_id, Link& link, std::string frame);
  void Cut(const std::string& routing_id);

  Scheduler& scheduler_;
  const FaultProfile& faults_;
  Random random_;
  Life life_ = NewLife();
  std::map<std::string, Accept> endpoints_;
  std::map<std::string, Link> links_;  // by routing id
  std::map<SocketId, Socket> sockets_;
  SocketId next_socket_ = 1;
  uint32_t next_link_ = 1;
  int64_t partitioned_until_us_ = 0, split_until_us_ = 0;
  Apart apart_;
};

}  // namespace zsched::sim
