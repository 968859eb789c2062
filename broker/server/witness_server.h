// The running witness: one socket and one file around a Witness. Owned by broker/server.
//
// Example:
//   auto witness = WitnessServer::Start({.directory = "/var/lib/zsched", .listen = {"10.0.0.3", 5572}});
//   absl::Status status = (*witness)->Run();     // until Stop(), from a signal handler or another thread
//
// Threads: Start and Run on one thread; Stop from any, async-signal-safe.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/text.h"
#include "broker/journal/data_directory.h"
#include "broker/replication/witness.h"
#include "broker/server/threads.h"
#include "broker/transport/router_socket.h"

namespace zsched::broker {

struct WitnessConfig {
  std::string directory;  // its own, of no broker
  HostPort listen;        // where the two brokers ask
};

class WitnessServer {
 public:
  // INVALID_ARGUMENT: the directory is a broker's. CONFLICT, UNAVAILABLE, DATA_LOSS: one line for the operator.
  static absl::StatusOr<std::unique_ptr<WitnessServer>> Start(const WitnessConfig& config);
  ~WitnessServer();

  void Run();
  void Stop();
  const HostPort& address() const { return socket_->address(); }
  absl::StatusOr<Register> Read() { return store_->Read(); }

 private:
  explicit WitnessServer(DataDirectory directory) : directory_(std::move(directory)) {}
  void OnFrame(std::string_view asker, std::string_view frame);
  void Say(const PeerMessage& request, const PeerRegisterAnswer& answer);

  const DataDirectory directory_;  // locked
  void* zmq_ = nullptr;
  std::unique_ptr<RouterSocket> socket_;
  std::unique_ptr<RegisterStore> store_;
  std::unique_ptr<Witness> witness_;
  WakeFd wake_;
  std::atomic<bool> stop_{false};
};

}  // namespace zsched::broker
