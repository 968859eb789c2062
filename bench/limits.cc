#include "bench/limits.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/check.h"
#include "bench/lmdb_store.h"
#include "bench/proc.h"
#include "flatbuffers/flatbuffers.h"
#include "schemas/errors.h"
#include "schemas/frame.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::bench {
namespace {

constexpr size_t kCommitRecordBytes = 200;  // of the commit that latencies are compared with

using Clock = std::chrono::steady_clock;
using flatbuffers::FlatBufferBuilder;

// About what a small task takes in a message beside its payload.
constexpr uint64_t kTaskOverheadBytes = 60;
// A log value of at most four pages is found room for at once; LMDB searches for longer runs.
constexpr size_t kLogPieceBytes = 16'000;
// Where a task stands: state, attempts, lease, times. A row of its own beside the payload, so that a
// change does not write the payload again; it keeps its size, so that it is overwritten in place.
constexpr size_t kStateRowBytes = 64;
constexpr int kIdlePollMs = 20;  // how soon the end is noticed
constexpr int kWaitMs = 30'000;  // for one message; a pipeline that is silent for longer is broken

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

class Socket {
 public:
  Socket(void* context, int type) : socket_(zmq_socket(context, type)) {
    ZS_CHECK(socket_ != nullptr);
    // What is in flight is bounded by those who send; a ROUTER drops what is over the mark.
    Set(ZMQ_SNDHWM, 0);
    Set(ZMQ_RCVHWM, 0);
    Set(ZMQ_LINGER, 0);
  }
  ~Socket() { zmq_close(socket_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  std::string Bind() {
    ZS_CHECK(zmq_bind(socket_, "tcp://127.0.0.1:*") == 0);
    char endpoint[256];
    size_t size = sizeof endpoint;
    ZS_CHECK(zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, endpoint, &size) == 0);
    return endpoint;
  }
  void Connect(const std::string& endpoint) {
    ZS_CHECK(zmq_connect(socket_, endpoint.c_str()) == 0);
  }
  void Send(std::string_view bytes, int flags = 0) {
    ZS_CHECK(zmq_send(socket_, bytes.data(), bytes.size(), flags) >= 0);
  }
  // False: nothing there (or nothing came in time).
  bool Receive(std::string& out, int flags = ZMQ_DONTWAIT) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    bool ok = zmq_msg_recv(&message, socket_, flags) >= 0;
    if (ok) out.assign(static_cast<char*>(zmq_msg_data(&message)), zmq_msg_size(&message));
    zmq_msg_close(&message);
    return ok;
  }
  void Set(int option, int value) {
    ZS_CHECK(zmq_setsockopt(socket_, option, &value, sizeof value) == 0);
  }
  void* handle() { return socket_; }

 private:
  void* socket_;
};

std::string_view Finished(FlatBufferBuilder& b) {
  return {reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize()};
}

// What one commit writes and what it lets go.
struct Work {
  struct NewTask {
    uint64_t id;
    std::string_view payload;  // in log
  };
  std::vector<std::string> log;
  std::vector<NewTask> tasks;
  std::vector<std::pair<size_t, uint64_t>> submits;  // index into log, first id
  std::vector<uint64_t> done;

  bool empty() const { return log.empty(); }
  void Clear() {
    log.clear();
    tasks.clear();
    submits.clear();
    done.clear();
  }
};

class Pipeline {
 public:
  Pipeline(const PipelineOptions& options, LmdbStore& store)
      : options_(options),
        store_(store),
        context_(zmq_ctx_new()),
        wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
        waiting_row_(kStateRowBytes, 'w'),
        done_row_(kStateRowBytes, 'd'),
        frame_tasks_(TasksWithin(kBatchTargetBytes, options.frame_tasks)),
        assign_tasks_(TasksWithin(kBatchTargetBytes, kMaxAssignTasks)) {
    ZS_CHECK(wake_ >= 0);
  }
  ~Pipeline() {
    zmq_ctx_term(context_);
    close(wake_);
  }

  PipelineResult Run() {
    double cpu_before = OwnCpuSeconds();
    {
      Socket clients(context_, ZMQ_ROUTER), workers(context_, ZMQ_ROUTER);
      client_endpoint_ = clients.Bind();
      worker_endpoint_ = workers.Bind();
      std::thread journal([this] { Journal(); }), worker([this] { Worker(); }),
          client([this] { Client(); });
      Broker(clients, workers);
      client.join();
      stop_ = true;
      work_ready_.store(2);
      work_ready_.notify_one();
      worker.join();
      journal.join();
    }
    auto tasks = static_cast<double>(options_.tasks);
    return {seconds_, tasks / seconds_, (OwnCpuSeconds() - cpu_before) * 1e5 / tasks,
            std::move(ack_ms_), std::move(result_ms_)};
  }

 private:
  void Client() {
    Socket socket(context_, ZMQ_DEALER);
    socket.Set(ZMQ_RCVTIMEO, kWaitMs);
    socket.Connect(client_endpoint_);
    FlatBufferBuilder b;
    std::string payload(options_.payload_bytes, 'x'), answer;
    const uint64_t window = TasksWithin(kSubmitWindowBytes, kSubmitWindowTasks);
    uint64_t sent = 0, seq = 0, acknowledged = 0, done = 0;
    auto begin = Clock::now(), sent_at = begin;
    auto may_send = [&] {
      return options_.after_each ? sent == done : sent - acknowledged < window;
    };
    while (done < options_.tasks) {
      while (sent < options_.tasks && may_send()) {
        if (options_.after_each && sent > 0) options_.after_each();
        sent_at = Clock::now();
        uint64_t count = std::min(frame_tasks_, options_.tasks - sent);
        socket.Send(Submit(b, ++seq, count, payload));
        sent += count;
      }
      ZS_CHECK(socket.Receive(answer, 0));
      const auto* outcomes = flatbuffers::GetRoot<wire::Outcomes>(answer.data());
      acknowledged = std::max(acknowledged, outcomes->request());
      if (outcomes->succeeded() != nullptr) done += outcomes->succeeded()->size();
      if (!options_.after_each) continue;
      // Its ack comes before its result: they are two commits.
      (done == sent ? result_ms_ : ack_ms_).push_back(SecondsSince(sent_at) * 1000);
    }
    seconds_ = SecondsSince(begin);
    client_done_ = true;
  }

  // As zsched bounds its messages and windows: by bytes and by tasks.
  uint64_t TasksWithin(uint64_t bytes, uint64_t most) const {
    return std::clamp<uint64_t>(bytes / (options_.payload_bytes + kTaskOverheadBytes), 1, most);
  }

  static std::string_view Submit(FlatBufferBuilder& b, uint64_t seq, uint64_t count,
                                 const std::string& payload) {
    b.Clear();
    auto type = b.CreateString("noop"), queue = b.CreateString("bench");
    std::vector<flatbuffers::Offset<wire::TaskSpec>> tasks;
    for (uint64_t i = 0; i < count; ++i) {
      auto bytes = b.CreateVector(reinterpret_cast<const uint8_t*>(payload.data()), payload.size());
      tasks.push_back(wire::CreateTaskSpec(b, type, queue, bytes));
    }
    auto list = b.CreateVector(tasks);
    b.Finish(wire::CreateSubmit(b, seq, 0, true, list));
    return Finished(b);
  }

  void Worker() {
    Socket socket(context_, ZMQ_DEALER);
    socket.Set(ZMQ_RCVTIMEO, 100);
    socket.Connect(worker_endpoint_);
    socket.Send("");  // hello
    FlatBufferBuilder b;
    std::string frame;
    std::vector<wire::Done> done;
    while (!stop_) {
      if (!socket.Receive(frame, 0)) continue;
      const auto* tasks = VerifyBody<wire::Tasks>(frame);
      ZS_CHECK(tasks != nullptr);
      done.clear();
      for (const wire::Assignment* task : *tasks->tasks())
        done.emplace_back(task->task_id(), task->lease_id(), 1);
      b.Clear();
      auto list = b.CreateVectorOfStructs(done);
      b.Finish(wire::CreateResults(b, 1, list));
      socket.Send(Finished(b));
    }
  }

  void Journal() {
    while (true) {
      work_ready_.wait(0);
      if (stop_) return;
      store_.Begin();
      for (std::string_view record : at_journal_->log)
        for (; !record.empty(); record.remove_prefix(std::min(record.size(), kLogPieceBytes)))
          store_.AppendLog(record.substr(0, kLogPieceBytes));
      for (const Work::NewTask& task : at_journal_->tasks) store_.AppendRow(task.id, task.payload);
      for (uint64_t id : at_journal_->done) store_.RewriteState(id, done_row_);
      for (const Work::NewTask& task : at_journal_->tasks)
        store_.AppendState(task.id, waiting_row_);
      store_.Commit();
      work_ready_.store(0);
      committed_.store(true);
      uint64_t one = 1;
      ZS_CHECK(write(wake_, &one, sizeof one) == sizeof one);
    }
  }

  void Broker(Socket& clients, Socket& workers) {
    std::string hello, frame;
    workers.Set(ZMQ_RCVTIMEO, kWaitMs);
    ZS_CHECK(workers.Receive(worker_id_, 0) && workers.Receive(hello, 0));
    while (!client_done_) {
      zmq_pollitem_t items[] = {{nullptr, wake_, ZMQ_POLLIN, 0},
                                {workers.handle(), 0, ZMQ_POLLIN, 0},
                                {clients.handle(), 0, ZMQ_POLLIN, 0}};
      zmq_poll(items, 3, kIdlePollMs);
      uint64_t count;
      if (items[0].revents != 0) ZS_CHECK(read(wake_, &count, sizeof count) == sizeof count);
      if (committed_.exchange(false)) LetGo(clients, workers);
      for (int i = 0; i < 256 && workers.Receive(frame); ++i) {
        workers.Receive(frame, 0);
        TakeResults(frame);
      }
      for (int i = 0; i < 256 && clients.Receive(client_id_); ++i) {
        clients.Receive(frame, 0);
        TakeSubmit(frame);
      }
      if (at_journal_ == nullptr && !open_->empty()) {
        at_journal_ = open_;
        open_ = at_journal_ == &works_[0] ? &works_[1] : &works_[0];
        work_ready_.store(1);
        work_ready_.notify_one();
      }
    }
  }

  void TakeSubmit(std::string& frame) {
    const auto* submit = VerifyBody<wire::Submit>(frame);
    ZS_CHECK(submit != nullptr);
    uint32_t count = submit->tasks()->size();
    open_->submits.emplace_back(open_->log.size(), next_id_);
    open_->log.push_back(std::move(frame));
    const auto* kept = flatbuffers::GetRoot<wire::Submit>(open_->log.back().data());
    for (uint32_t i = 0; i < count; ++i)
      open_->tasks.push_back({next_id_++, BytesOf(kept->tasks()->Get(i)->payload())});
  }

  void TakeResults(const std::string& frame) {
    const auto* results = VerifyBody<wire::Results>(frame);
    ZS_CHECK(results != nullptr);
    open_->log.push_back(frame);
    for (const wire::Done* done : *results->done()) open_->done.push_back(done->task_id());
  }

  // What is durable now may be told: one ack for all submits of the commit, their tasks to the
  // worker, one message with the ids of those that ended.
  void LetGo(Socket& clients, Socket& workers) {
    for (auto [index, first] : at_journal_->submits) {
      const auto* submit = flatbuffers::GetRoot<wire::Submit>(at_journal_->log[index].data());
      for (const wire::TaskSpec* spec : *submit->tasks()) Assign(workers, *spec, first++);
      acknowledged_ = first - 1;
    }
    SendAssigned(workers);
    builder_.Clear();
    auto ids = builder_.CreateVector(at_journal_->done);
    builder_.Finish(wire::CreateOutcomes(builder_, acknowledged_, ids));
    clients.Send(client_id_, ZMQ_SNDMORE);
    clients.Send(Finished(builder_));
    at_journal_->Clear();
    at_journal_ = nullptr;
  }

  void Assign(Socket& workers, const wire::TaskSpec& spec, uint64_t id) {
    if (assigned_.empty()) {
      builder_.Clear();
      type_ = builder_.CreateString("noop");
      queue_ = builder_.CreateString("bench");
    }
    auto payload = builder_.CreateVector(spec.payload()->data(), spec.payload()->size());
    assigned_.push_back(
        wire::CreateAssignment(builder_, id, id, 1, 1, 1000, 5, type_, queue_, payload));
    if (assigned_.size() == assign_tasks_) SendAssigned(workers);
  }

  void SendAssigned(Socket& workers) {
    if (assigned_.empty()) return;
    auto tasks = builder_.CreateVector(assigned_);
    builder_.Finish(wire::CreateTasks(builder_, tasks));
    workers.Send(worker_id_, ZMQ_SNDMORE);
    workers.Send(Finished(builder_));
    assigned_.clear();
  }

  const PipelineOptions& options_;
  LmdbStore& store_;
  void* context_;
  int wake_;
  std::string client_endpoint_, worker_endpoint_, client_id_, worker_id_;
  const std::string waiting_row_, done_row_;
  const uint64_t frame_tasks_, assign_tasks_;
  FlatBufferBuilder builder_;
  flatbuffers::Offset<flatbuffers::String> type_, queue_;  // in builder_, of the open TASKS message
  std::vector<flatbuffers::Offset<wire::Assignment>> assigned_;
  Work works_[2];
  Work* open_ = &works_[0];
  Work* at_journal_ = nullptr;
  uint64_t next_id_ = 1;
  uint64_t acknowledged_ = 0;  // tasks
  std::atomic<int> work_ready_{0};
  std::atomic<bool> committed_{false}, client_done_{false}, stop_{false};
  double seconds_ = 0;
  std::vector<double> ack_ms_, result_ms_;
};

}  // namespace

absl::StatusOr<PipelineResult> RunPipeline(const PipelineOptions& options) {
  ZS_ASSIGN_OR_RETURN(auto store, LmdbStore::Make(options.data_root));
  return Pipeline(options, *store).Run();
}

double CommitOnceMs(LmdbStore& store) {
  auto begin = Clock::now();
  store.Begin();
  store.AppendLog(std::string(kCommitRecordBytes, 'x'));
  store.Commit();
  return SecondsSince(begin) * 1000;
}

absl::StatusOr<CommitResult> MeasureCommit(const std::string& data_root, int commits) {
  ZS_ASSIGN_OR_RETURN(auto store, LmdbStore::Make(data_root));
  std::vector<double> times;
  for (int i = 0; i < commits; ++i) times.push_back(CommitOnceMs(*store));
  std::sort(times.begin(), times.end());
  return CommitResult{times[times.size() / 2], times[times.size() * 99 / 100]};
}

absl::StatusOr<double> MeasureEcho(uint64_t messages, uint32_t bytes) {
  void* context = zmq_ctx_new();
  double seconds = 0;
  {
    Socket router(context, ZMQ_ROUTER);
    router.Set(ZMQ_RCVTIMEO, kWaitMs);
    std::string endpoint = router.Bind();
    std::thread client([&] {
      Socket dealer(context, ZMQ_DEALER);
      dealer.Set(ZMQ_RCVTIMEO, kWaitMs);
      dealer.Connect(endpoint);
      std::string message(bytes, 'x'), answer;
      constexpr uint64_t kInFlight = 500;
      auto begin = Clock::now();
      for (uint64_t sent = 0, received = 0; received < messages;) {
        while (sent < messages && sent - received < kInFlight) dealer.Send(message), ++sent;
        ZS_CHECK(dealer.Receive(answer, 0));
        ++received;
        while (received < sent && dealer.Receive(answer)) ++received;
      }
      seconds = SecondsSince(begin);
    });
    std::string id, body;
    for (uint64_t i = 0; i < messages; ++i) {
      ZS_CHECK(router.Receive(id, 0) && router.Receive(body, 0));
      router.Send(id, ZMQ_SNDMORE);
      router.Send(body);
    }
    client.join();
  }
  zmq_ctx_term(context);
  return static_cast<double>(messages) / seconds;
}

}  // namespace zsched::bench
