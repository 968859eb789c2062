// A TCP relay in front of a broker that can lose what the broker says. Owned by tests.
//
// Example:
//   Proxy proxy(cluster.client_port());
//   auto client = Client::Create({.brokers = proxy.address()});
//   proxy.SwallowAnswers(true);       // from now on the broker hears the client, and the client hears nothing
//   …  proxy.Cut();                   // ends every connection, as a network does
//   proxy.SwallowAnswers(false);
//
// Threads: one of its own; the methods from any.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/harness/process.h"

namespace zsched::harness {

class Proxy {
 public:
  // Listens on a free port of 127.0.0.1 and relays to `target_port` there.
  explicit Proxy(int target_port);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  void SwallowAnswers(bool swallow) { swallow_ = swallow; }
  void Cut();

 private:
  struct Link;
  void Run();
  void Accept();
  // False: the link is over.
  bool Relay(int from, int to, bool drop);

  int target_port_;
  int port_ = 0;
  int listener_ = -1;
  std::vector<std::unique_ptr<Link>> links_;  // of the thread
  std::atomic<bool> swallow_{false}, cut_{false}, stop_{false};
  std::thread thread_;
};

}  // namespace zsched::harness
