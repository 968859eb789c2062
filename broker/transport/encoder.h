// Effects of the core as bodies of frames. Owned by broker/transport; does no I/O.
//
// Example:
//   Encoder encoder;
//   socket.Send(routing_id, header, encoder.SubmitAck(ack, window_tasks, window_bytes));
//
// Every method returns bytes that live until the next call. Methods that may need several frames
// take a sink that is called for each body in turn.
//
// Threads: one owner; the query thread has its own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "broker/core/core.h"
#include "flatbuffers/flatbuffers.h"
#include "schemas/wire_generated.h"

namespace zsched::broker {

// This broker and its peers as WELCOME and VIEW name them.
struct BrokerEntry {
  std::string node;
  wire::Role role{};
  std::string address;
  std::string worker_address;
  bool self = false;
};
struct ClusterView {
  Uuid cluster;
  Epoch epoch;
  std::vector<BrokerEntry> brokers;
};

// What is so now, beside the counters.
struct Gauge {
  const char* name;
  uint64_t value;
};
// An EVENT_PAGE without events: docs/protocol.md, EVENTS.
struct EventsPlace {
  uint64_t next = 0;
  uint32_t next_skip = 0;
  uint64_t last = 0;
  bool trimmed = false;
};

class Encoder {
 public:
  Encoder() : builder_(kInitialBytes) {}

  std::string_view Error(ErrorCode code, std::string_view message, uint64_t request,
                         uint32_t retry_after_ms = 0);
  std::string_view View(const ClusterView& view);
  std::string_view Welcome(SessionId session, const ClusterView& view, const CoreConfig& config);
  std::string_view WorkerWelcome(const WorkerWelcomeEffect& effect, const ClusterView& view,
                                 const CoreConfig& config);
  std::string_view HeartbeatAck(bool resync);
  std::string_view SubmitAck(const SubmitAckEffect& ack);
  std::string_view ResultAck(const ResultAckEffect& ack);
  std::string_view Cancel(const CancelEffect& cancel);
  std::string_view Recall(const RecallEffect& recall);
  std::string_view Explanation(uint64_t request, TaskId id, const broker::Explanation& explanation);
  std::string_view ItemReply(const ItemReplyEffect& reply);

  std::string_view NoEvents(uint64_t request, const EventsPlace& place);

  using Sink = absl::FunctionRef<void(std::string_view body)>;

  // `spec` finds the spec row of a task, `checkpoint` the one in a trail; they live until the body was
  // given to the sink.
  void Tasks(const TasksEffect& effect, const Lanes& lanes, int64_t wall_ms,
             absl::FunctionRef<std::string_view(TaskId)> spec,
             absl::FunctionRef<std::string_view(uint64_t trail)> checkpoint, Sink sink);
  // `rows`: of the batch that the effect waited for.
  void Outcomes(const OutcomesEffect& effect, std::string_view rows, Sink sink);

  // `queue_ages`: Core::QueueAges, here and below.
  struct StatusInput {
    uint64_t request = 0;
    std::string node, version;
    uint64_t durable_lsn = 0, uptime_ms = 0;
    const std::vector<Gauge>& gauges;
    const std::vector<uint64_t>& queue_ages;
  };
  std::string_view Status(const StatusInput& input, const Core& core, const ClusterView& view);
  // Of what has names: queues, types, schedules.
  struct NameFilter {
    std::string_view only = {};   // this one; empty: all
    std::string_view after = {};  // in the order of names
    uint32_t limit = 0;  // at most kMaxQueueListLimit, kMaxScheduleListLimit, which 0 means
  };
  std::string_view Queues(uint64_t request, const Core& core,
                          const std::vector<uint64_t>& queue_ages, const NameFilter& filter);
  std::string_view Types(uint64_t request, const Core& core, const NameFilter& filter);
  // Ends earlier when the frame is full.
  std::string_view Schedules(uint64_t request, const Core& core, const NameFilter& filter);
  std::string_view Workers(uint64_t request, const Core& core, int64_t mono_ms);

 private:
  static constexpr size_t kInitialBytes = 64 << 10;
  using Brokers = flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::BrokerInfo>>>;
  Brokers BrokerList(const ClusterView& view);
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Histogram>>> Histograms(
      const Metrics& metrics);
  flatbuffers::Offset<wire::Parent> CopyParent(const ParentView& parent);
  flatbuffers::Offset<wire::ScheduleInfo> CopySchedule(const Schedule& schedule, const Core& core);
  template <class Table>
  std::string_view Finish(flatbuffers::Offset<Table> root);

  flatbuffers::FlatBufferBuilder builder_;
};

}  // namespace zsched::broker
