#include "broker/replication/witness_register.h"

#include <zmq.h>

#include <chrono>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "broker/replication/peer_frames.h"
#include "schemas/errors.h"
#include "schemas/frame.h"

namespace zsched::broker {
namespace {

// An answer is some 200 bytes.
constexpr int64_t kMaxAnswerBytes = 4096;
constexpr int kReconnectMs = 20;
constexpr int kReconnectMaxMs = 200;

uint64_t RandomLife() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) | 1;
}

class WitnessRegister final : public RegisterStore {
 public:
  WitnessRegister(void* context, const WitnessOptions& options)
      : context_(context), options_(options), life_(RandomLife()) {}
  ~WitnessRegister() override { Disconnect(); }

  absl::StatusOr<Register> Read() override;
  absl::StatusOr<Register> Swap(const Register& expected, const Register& wanted) override;

 private:
  absl::StatusOr<PeerRegisterAnswer> AskToRead(int64_t until_ms);
  // The answer to the request with number_. UNAVAILABLE: none came.
  absl::StatusOr<PeerRegisterAnswer> Ask(const PeerMessage& request, int64_t until_ms);
  bool Send(const std::string& frame, int64_t until_ms);
  std::optional<PeerRegisterAnswer> Receive(int64_t until_ms);
  std::optional<PeerRegisterAnswer> TakeFrame();
  bool Await(short events, int64_t until_ms);
  void Connect();
  void Disconnect();
  int64_t Deadline() const { return SystemNow().mono_ms + options_.timeout_ms; }
  absl::Status NoAnswer() const {
    return Error(ErrorCode::kUnavailable, "no answer from the witness at " +
                                              ToString(options_.address) +
                                              "; is it running, and reached from here?");
  }

  void* const context_;
  const WitnessOptions options_;
  const uint64_t life_;
  uint64_t number_ = 0;        // of the last request
  uint64_t witness_life_ = 0;  // as it said last; 0: it has not been heard yet
  void* socket_ = nullptr;
  AlignedCopy aligned_;
};

absl::StatusOr<Register> WitnessRegister::Read() {
  ZS_ASSIGN_OR_RETURN(PeerRegisterAnswer answer, AskToRead(Deadline()));
  return std::move(answer.value);
}

absl::StatusOr<Register> WitnessRegister::Swap(const Register& expected, const Register& wanted) {
  ZS_CHECK(!wanted.empty());
  ZS_CHECK_OK(CheckRegister(wanted));
  const int64_t until_ms = Deadline();
  // See register.h: whoever cannot hear the answer does not get to swap.
  ZS_RETURN_IF_ERROR(AskToRead(until_ms).status());
  while (true) {
    const PeerRegisterSwap swap{life_, ++number_, witness_life_, expected, wanted};
    ZS_ASSIGN_OR_RETURN(PeerRegisterAnswer answer, Ask(swap, until_ms));
    // One of another life has refused it, and takes it now.
    if (answer.witness_life == swap.witness_life) return std::move(answer.value);
  }
}

absl::StatusOr<PeerRegisterAnswer> WitnessRegister::AskToRead(int64_t until_ms) {
  return Ask(PeerRegisterRead{life_, ++number_}, until_ms);
}

absl::StatusOr<PeerRegisterAnswer> WitnessRegister::Ask(const PeerMessage& request,
                                                        int64_t until_ms) {
  if (socket_ == nullptr) Connect();
  std::optional<PeerRegisterAnswer> answer;
  if (Send(SealPeerFrame(request), until_ms)) answer = Receive(until_ms);
  if (!answer) {
    // A connection that a partition has broken would come back later than a new one.
    Disconnect();
    return NoAnswer();
  }
  witness_life_ = answer->witness_life;
  return *std::move(answer);
}

bool WitnessRegister::Send(const std::string& frame, int64_t until_ms) {
  while (Await(ZMQ_POLLOUT, until_ms))
    if (zmq_send(socket_, frame.data(), frame.size(), ZMQ_DONTWAIT) >= 0) return true;
  return false;
}

std::optional<PeerRegisterAnswer> WitnessRegister::Receive(int64_t until_ms) {
  while (Await(ZMQ_POLLIN, until_ms)) {
    std::optional<PeerRegisterAnswer> answer = TakeFrame();
    if (answer && answer->life == life_ && answer->number == number_) return answer;
  }
  return std::nullopt;
}

// What is no answer is dropped: whoever sits at that address, nothing is concluded from it.
std::optional<PeerRegisterAnswer> WitnessRegister::TakeFrame() {
  zmq_msg_t message;
  zmq_msg_init(&message);
  std::optional<PeerRegisterAnswer> answer;
  if (zmq_msg_recv(&message, socket_, ZMQ_DONTWAIT) >= 0) {
    auto opened = OpenPeerFrame(
        aligned_.Align({static_cast<const char*>(zmq_msg_data(&message)), zmq_msg_size(&message)}));
    if (opened.ok())
      if (auto* found = std::get_if<PeerRegisterAnswer>(&*opened)) answer = *std::move(found);
  }
  zmq_msg_close(&message);
  return answer;
}

bool WitnessRegister::Await(short events, int64_t until_ms) {
  const int64_t left_ms = until_ms - SystemNow().mono_ms;
  zmq_pollitem_t item{socket_, 0, events, 0};
  return left_ms > 0 && zmq_poll(&item, 1, left_ms) > 0;
}

void WitnessRegister::Connect() {
  socket_ = zmq_socket(context_, ZMQ_DEALER);
  ZS_CHECK(socket_ != nullptr);
  auto set = [this](int option, auto value) {
    ZS_CHECK(zmq_setsockopt(socket_, option, &value, sizeof value) == 0);
  };
  set(ZMQ_IMMEDIATE, 1);  // nothing is queued for a witness that is away
  set(ZMQ_LINGER, 0);
  set(ZMQ_MAXMSGSIZE, kMaxAnswerBytes);
  set(ZMQ_RECONNECT_IVL, kReconnectMs);
  set(ZMQ_RECONNECT_IVL_MAX, kReconnectMaxMs);
  set(ZMQ_IPV6, options_.address.host.find(':') != std::string::npos ? 1 : 0);
  // A wrong address was refused when the settings were read; a host without an address is looked up again and again.
  ZS_CHECK(zmq_connect(socket_, ToZmqEndpoint(options_.address).c_str()) == 0);
}

void WitnessRegister::Disconnect() {
  if (socket_ != nullptr) zmq_close(std::exchange(socket_, nullptr));
}

}  // namespace

std::unique_ptr<RegisterStore> OpenWitnessRegister(void* zmq_context,
                                                   const WitnessOptions& options) {
  return std::make_unique<WitnessRegister>(zmq_context, options);
}

}  // namespace zsched::broker
