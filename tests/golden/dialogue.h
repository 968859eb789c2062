// A broker's side of a conversation as text: commands in, frames out. Owned by tests/golden. The engine is the real one on
// a MemoryDisk; nothing is durable before a "commit" says so, so a script shows what waits for the disk and what does not.
//
//   boot                                 a broker starts on the disk there is
//   commit                               the open batch becomes durable and its effects leave
//   crash                                all but the disk is gone
//   tick MS                              so much time passes
//   client NAME hello
//   client NAME submit SEQ TASKS [bytes=N] [memory] [notify] [acked=SEQ]
//   client NAME wait ID...
//   client NAME retry ID
//   client NAME cancel ID...
//   client NAME heartbeat
//   client NAME goodbye
//   worker NAME hello [TASK/LEASE/ATTEMPT...]     with what it holds
//   worker NAME credit TASKS [BYTES]
//   worker NAME done SEQ TASK/LEASE...
//   worker NAME fail SEQ TASK/LEASE      to be tried again
//   worker NAME giveup SEQ TASK/LEASE    for good
//   worker NAME release TASK/LEASE/ATTEMPT...
//   worker NAME heartbeat
//   worker NAME goodbye
//   lost LINE                            the frame of this line of a client or worker does not arrive
//   twice LINE                           it arrives twice
//   misaligned LINE                      of a wait, done or release: the vector in its body stands at 4 modulo 8
//   reading NAME yes|no                  whether the peer reads; if not, its connection is full
//   queries hold|one|all                 questions to the disk wait; the first is answered; all are, from now on
//
// Example:
//   Dialogue dialogue;
//   dialogue.Run("boot");                // "" : nothing leaves before its epoch is durable
//
// Threads: one.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/journal/journal.h"
#include "broker/journal/memory_journal.h"
#include "broker/server/engine.h"
#include "flatbuffers/flatbuffers.h"

namespace zsched::golden {

class Dialogue final : private broker::Outbox {
 public:
  Dialogue();
  ~Dialogue() override;

  // Carries out one line and returns the frames that left, one a line.
  std::string Run(const std::string& line);

 private:
  struct Peer {
    broker::Endpoint endpoint{};
    Uuid id;
    uint64_t session = 0;
    uint32_t sent = 0;  // number of its last frame in the session
    bool reading = true;
  };
  using Words = std::vector<std::string>;

  void RunPeer(const Words& words);
  void Boot();
  void Commit();
  void Crash();
  void RunClient(Peer& peer, const std::string& name, const Words& words);
  void RunWorker(Peer& peer, const std::string& name, const Words& words);
  void Submit(const std::string& name, const Words& words);
  void Results(const std::string& name, const Words& words);
  void AnswerFirst();
  void Deliver(const std::string& name, MessageType type, std::string_view body);
  void EndRound();
  broker::Delivery Send(broker::Endpoint endpoint, std::string_view routing_id,
                        const FrameHeader& header, std::string_view body) override;
  // So that a dialogue shows what a peer that does not read would have got.
  bool HasRoom(broker::Endpoint, std::string_view) override { return true; }

  std::shared_ptr<broker::MemoryDisk> disk_;
  std::unique_ptr<broker::Journal> journal_;
  std::unique_ptr<broker::Engine> engine_;
  broker::QueryRunner runner_;
  std::deque<broker::Query> queries_;
  bool queries_held_ = false;
  broker::Batch batches_[2];
  int at_journal_ = 0;
  Now now_{1'700'000'000'000, 1'000'000};
  std::map<std::string, Peer> peers_;  // by name, which is also the routing id
  int arrivals_ = 1;                   // of the frame that a line sends
  bool misaligned_ = false;            // its body
  flatbuffers::FlatBufferBuilder builder_;
  std::string out_;
};

// What a frame says, in words: "SUBMIT_ACK seq 1: 4-1..4-3 on disk". `body` starts at a multiple of 8.
std::string Describe(const FrameHeader& header, std::string_view body);

}  // namespace zsched::golden
