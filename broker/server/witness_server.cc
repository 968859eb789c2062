#include "broker/server/witness_server.h"

#include <zmq.h>

#include <random>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "broker/replication/file_register.h"
#include "broker/server/bounds.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

// Answered before the socket is looked at for a signal to stop.
constexpr size_t kFramesPerRound = 64;

uint64_t RandomLife() {
  std::random_device device;
  return (uint64_t{device()} << 32 | device()) | 1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<WitnessServer>> WitnessServer::Start(const WitnessConfig& config) {
  ZS_ASSIGN_OR_RETURN(DataDirectory directory, DataDirectory::Open(config.directory));
  if (!directory.is_new())
    return Error(ErrorCode::kInvalidArgument,
                 "data directory " + config.directory +
                     " has a broker's journal; a witness needs a directory of its own");
  std::unique_ptr<WitnessServer> server(new WitnessServer(std::move(directory)));
  ZS_ASSIGN_OR_RETURN(server->store_, OpenFileRegister(config.directory));
  ZS_RETURN_IF_ERROR(server->store_->Read().status());
  server->zmq_ = zmq_ctx_new();
  ZS_ASSIGN_OR_RETURN(server->socket_,
                      RouterSocket::Bind(server->zmq_, config.listen, kWitnessSocket));
  server->witness_ = std::make_unique<Witness>(*server->store_, RandomLife());
  return server;
}

WitnessServer::~WitnessServer() {
  socket_.reset();
  if (zmq_ != nullptr) zmq_ctx_term(zmq_);
}

void WitnessServer::Stop() {
  stop_.store(true);
  wake_.Wake();
}

void WitnessServer::Run() {
  while (!stop_.load()) {
    zmq_pollitem_t items[] = {{nullptr, wake_.fd(), ZMQ_POLLIN, 0},
                              {socket_->handle(), 0, ZMQ_POLLIN, 0}};
    zmq_poll(items, 2, -1);
    if (items[0].revents & ZMQ_POLLIN) wake_.Clear();
    socket_->Receive(kFramesPerRound, [&](std::string_view asker, std::string_view frame) {
      OnFrame(asker, frame);
      return true;
    });
  }
}

void WitnessServer::OnFrame(std::string_view asker, std::string_view frame) {
  const absl::StatusOr<PeerMessage> request = OpenPeerFrame(frame);
  if (!request.ok()) {
    Log(Level::kWarn, "a frame was dropped", {{"error", MessageOf(request.status())}});
    return;
  }
  std::optional<PeerRegisterAnswer> answer = witness_->On(*request);
  if (!answer) return;
  Say(*request, *answer);
  const std::string sealed = SealPeerFrame(*std::move(answer));
  const absl::StatusOr<FrameView> view = OpenFrame(sealed);
  // An asker that is gone asks again.
  socket_->Send(asker, view->header, view->body);
}

void WitnessServer::Say(const PeerMessage& request, const PeerRegisterAnswer& answer) {
  const auto* swap = std::get_if<PeerRegisterSwap>(&request);
  if (CodeOf(answer.value.status()) == ErrorCode::kConflict) return;  // asks again with this life
  if (!answer.value.ok()) {
    Log(Level::kError, "the register cannot be used",
        {{"error", MessageOf(answer.value.status())}});
  } else if (swap != nullptr) {
    Log(Level::kInfo, "the register was asked for",
        {{"register", ToText(*answer.value)}, {"granted", *answer.value == swap->wanted}});
  }
}

}  // namespace zsched::broker
