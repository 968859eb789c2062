#include "tests/unit/fake_broker.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <chrono>
#include <future>

#include "base/check.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::testing {
namespace {

constexpr auto kPatience = std::chrono::seconds(20);

}  // namespace

std::string BodyOf(const Builder& builder) {
  return {reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize()};
}

FakeBroker::FakeBroker() {
  context_ = zmq_ctx_new();
  wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  Start();
}

FakeBroker::~FakeBroker() {
  if (thread_.joinable()) Stop();
  zmq_ctx_term(context_);
  close(wake_fd_);
}

void FakeBroker::Start() {
  socket_ = zmq_socket(context_, ZMQ_ROUTER);
  const int linger = 0, mandatory = 1, unlimited = 0;
  zmq_setsockopt(socket_, ZMQ_LINGER, &linger, sizeof(linger));
  zmq_setsockopt(socket_, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof(mandatory));
  zmq_setsockopt(socket_, ZMQ_SNDHWM, &unlimited, sizeof(unlimited));
  const std::string endpoint = "tcp://127.0.0.1:" + (port_ == 0 ? "*" : std::to_string(port_));
  // ZeroMQ closes the old listener on its own thread: the port may be taken for a moment yet.
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (zmq_bind(socket_, endpoint.c_str()) != 0)
    ZS_CHECK(std::chrono::steady_clock::now() < deadline);
  char bound[64];
  size_t size = sizeof(bound);
  ZS_CHECK(zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, bound, &size) == 0);
  port_ = std::stoi(std::string(bound).substr(std::string(bound).rfind(':') + 1));
  stop_ = false;
  thread_ = std::thread([this] { Run(); });
}

void FakeBroker::Stop() {
  Post([this] { stop_ = true; });
  thread_.join();
  zmq_close(socket_);
  sessions_.clear();
  ++epoch;
}

void FakeBroker::SetHandler(FrameHandler handler) {
  Post([this, &handler] { handler_ = std::move(handler); });
}

void FakeBroker::Post(std::function<void()> work) {
  std::promise<void> done;
  {
    std::lock_guard lock(mutex_);
    works_.push_back([&] {
      work();
      done.set_value();
    });
  }
  const uint64_t one = 1;
  ZS_CHECK(write(wake_fd_, &one, sizeof(one)) == sizeof(one));
  done.get_future().wait();
}

void FakeBroker::Run() {
  while (!stop_) {
    zmq_pollitem_t items[] = {{socket_, 0, ZMQ_POLLIN, 0}, {nullptr, wake_fd_, ZMQ_POLLIN, 0}};
    zmq_poll(items, 2, -1);
    if ((items[1].revents & ZMQ_POLLIN) != 0) {
      uint64_t count;
      ZS_CHECK(read(wake_fd_, &count, sizeof(count)) == sizeof(count));
      std::vector<std::function<void()>> works;
      {
        std::lock_guard lock(mutex_);
        works.swap(works_);
      }
      for (auto& work : works) work();
    }
    while (!stop_) {
      zmq_msg_t id, frame;
      zmq_msg_init(&id);
      zmq_msg_init(&frame);
      const bool got = zmq_msg_recv(&id, socket_, ZMQ_DONTWAIT) >= 0;
      if (got) {
        zmq_msg_recv(&frame, socket_, 0);
        Handle({static_cast<char*>(zmq_msg_data(&id)), zmq_msg_size(&id)},
               {static_cast<char*>(zmq_msg_data(&frame)), zmq_msg_size(&frame)});
      }
      zmq_msg_close(&id);
      zmq_msg_close(&frame);
      if (!got) break;
    }
  }
}

void FakeBroker::Handle(const std::string& routing_id, std::string_view bytes) {
  absl::StatusOr<FrameView> frame = OpenFrame(aligned_.Align(bytes));
  ZS_CHECK_OK(frame.status());
  const Peer peer{routing_id, frame->header.session};
  // What every test of a client proves beside its own: no number is left out or used twice.
  if (auto session = sessions_.find(peer.session); session != sessions_.end())
    ZS_CHECK(frame->header.number == ++session->second.received);
  else
    ZS_CHECK(peer.session != 0 || frame->header.number == 0);
  {
    // Before the answer, on which the test may look.
    std::lock_guard lock(mutex_);
    if (keep_frames)
      received_.push_back({frame->header.type, frame->header.epoch, frame->header.session,
                           std::string(frame->body)});
    if (frame->header.type != MessageType::kDiscover && frame->header.type != MessageType::kHello)
      last_peer_ = peer;
  }
  if (handler_ == nullptr || !handler_(peer, *frame)) Answer(peer, *frame);
  // After it: whoever awaits the frame may rely on what the handler did.
  std::lock_guard lock(mutex_);
  ++counts_[frame->header.type];
  changed_.notify_all();
}

void FakeBroker::Answer(const Peer& peer, const FrameView& frame) {
  const MessageType type = frame.header.type;
  if (type == MessageType::kDiscover) return Send(peer, MessageType::kView, View());
  if (type == MessageType::kHello && !active) {
    Builder builder;
    const auto message = builder.CreateString("this is no active broker");
    return Send(
        {peer.routing_id, 0}, MessageType::kError,
        FinishBody(builder, wire::CreateError(builder, static_cast<uint16_t>(ErrorCode::kNotActive),
                                              message)));
  }
  if (type == MessageType::kHello) {
    const Peer opened{peer.routing_id, next_session_++};
    sessions_[opened.session] = {};
    return Send(opened, MessageType::kWelcome, Welcome(opened.session));
  }
  if (!sessions_.contains(peer.session)) {
    Builder builder;
    const auto message = builder.CreateString("no such session");
    return Send({peer.routing_id, 0}, MessageType::kError,
                FinishBody(builder, wire::CreateError(builder, 23, message)));
  }
  switch (type) {
    case MessageType::kHeartbeat: {
      Builder builder;
      return Send(peer, MessageType::kHeartbeatAck,
                  FinishBody(builder, wire::CreateHeartbeatAck(builder)));
    }
    case MessageType::kGoodbye:
      Send(peer, MessageType::kGoodbye, "");
      sessions_.erase(peer.session);
      return;
    case MessageType::kSubmit: {
      const auto* submit = VerifyBody<wire::Submit>(frame.body);
      ZS_CHECK(submit != nullptr);
      return Acknowledge(peer, *submit);
    }
    case MessageType::kWait: {
      const auto* wait = VerifyBody<wire::Wait>(frame.body);
      ZS_CHECK(wait != nullptr);
      Builder builder;
      return Send(peer, MessageType::kOutcomes,
                  FinishBody(builder, wire::CreateOutcomes(builder, wait->request())));
    }
    default:
      return;  // the test's handler has to answer queries
  }
}

void FakeBroker::Acknowledge(const Peer& peer, const wire::Submit& submit, bool duplicate) {
  Builder builder;
  wire::SubmitAckBuilder ack(builder);
  ack.add_seq(submit.seq());
  ack.add_first_id(next_id);
  ack.add_accepted(submit.tasks()->size());
  ack.add_durability(wire::Durability::kDisk);
  ack.add_duplicate(duplicate);
  ack.add_window_tasks(window_tasks);
  ack.add_window_bytes(window_bytes);
  next_id += submit.tasks()->size();
  Send(peer, MessageType::kSubmitAck, FinishBody(builder, ack.Finish()));
}

FrameHeader FakeBroker::HeaderFor(const Peer& peer, MessageType type) {
  auto session = sessions_.find(peer.session);
  const uint32_t number = session == sessions_.end() ? 0 : ++session->second.sent;
  return {.type = type, .number = number, .epoch = epoch, .session = peer.session};
}

void FakeBroker::Send(const Peer& peer, MessageType type, const std::string& body) {
  SendRaw(peer, SealFrame(HeaderFor(peer, type), body));
}

void FakeBroker::SendRaw(const Peer& peer, const std::string& frame) {
  // A peer that has gone is no error here.
  if (zmq_send(socket_, peer.routing_id.data(), peer.routing_id.size(), ZMQ_SNDMORE) < 0) return;
  zmq_send(socket_, frame.data(), frame.size(), 0);
}

std::string FakeBroker::View() const {
  Builder builder;
  const auto role = active ? wire::Role::kActiveSolo : wire::Role::kStandby;
  const auto self = wire::CreateBrokerInfoDirect(builder, "primary", role,
                                                 (":" + std::to_string(port_)).c_str(), ":1", true);
  const auto brokers = builder.CreateVector(&self, 1);
  return FinishBody(builder, wire::CreateView(builder, nullptr, epoch, brokers));
}

std::string FakeBroker::Welcome(uint64_t session) const {
  Builder builder;
  return FinishBody(builder,
                    wire::CreateWelcome(builder, session, epoch, heartbeat_ms, kClientTimeoutMs,
                                        window_tasks, window_bytes, kMaxPayloadBytes));
}

bool FakeBroker::AwaitFrames(MessageType type, size_t count) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return counts_[type] >= count; });
}

std::vector<FakeBroker::Received> FakeBroker::received(MessageType type) const {
  std::lock_guard lock(mutex_);
  std::vector<Received> matching;
  for (const Received& frame : received_)
    if (frame.type == type) matching.push_back(frame);
  return matching;
}

void FakeBroker::Forget() {
  std::lock_guard lock(mutex_);
  received_.clear();
  counts_.clear();
}

FakeBroker::Peer FakeBroker::last_peer() const {
  std::lock_guard lock(mutex_);
  return last_peer_;
}

}  // namespace zsched::testing
