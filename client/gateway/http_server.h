// The HTTP side of the gateway: connections, limits, and the threads that serve them, around the HTTP
// library. Owned by client/gateway.
//
//   accept ──▶ a thread for each connection (at most max_connections; one more is told 503)
//                 wait for a request (idle_ms) ▶ read it (request_ms) ▶ handler ▶ answer (write_ms) ▶ …
//
// What a slow or hostile peer can hold is one connection, for these times. Sockets, heads (head.h) and bodies
// are read here; the library gets a plain request for each, finds its method's handler and writes the answer:
// status, headers, compression, chunks.
//
// Example:
//   HttpServer server(options, [](Request& request) { return Answer(request); });
//   if (absl::Status bound = server.Bind(); !bound.ok()) return bound;
//   server.Start();
//   …
//   server.Stop();
//
// Threads: Start and Stop from one; the handler runs on many.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "base/text.h"
#include "client/gateway/http.h"

namespace zsched::gateway {

struct HttpOptions {
  HostPort listen;                          // port 0 takes a free one
  size_t max_connections = 512;             // each costs a thread while it lasts
  size_t max_body_bytes = size_t{8} << 20;  // some ten thousand small tasks
  // Of large bodies together: JSON takes some ten times as much while it is read.
  size_t max_bodies_bytes = size_t{64} << 20;
  int64_t idle_ms = 60'000;     // for the next request of a connection
  int64_t request_ms = 10'000;  // from its first byte to its last
  int64_t write_ms = 10'000;    // for the peer to take what its buffers hold
};

class HttpServer {
 public:
  // The request is the server's, and stays until the answer has left.
  using Serve = std::function<Reply(Request&)>;
  HttpServer(const HttpOptions& options, Serve serve);
  // Stop().
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Takes the address; who connects waits. UNAVAILABLE: it cannot be used; the message says why.
  absl::Status Bind();
  // Serves from now on.
  void Start();
  // Takes no more connections, ends streams, waits for the requests that run. Call it after the handlers
  // have been told to end what they wait for.
  void Stop();
  const HostPort& address() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zsched::gateway
