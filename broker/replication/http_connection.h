// One HTTP or HTTPS server, asked one request at a time, with bounds on everything that it may do to
// the asker. Owned by broker/replication.
//
// cpp-httplib speaks the protocol and does the TLS handshake. What it does not bound is bounded here:
// its timeouts hold for single reads, so a server that sends a byte now and then would hold the caller
// for ever; and its parser takes lines of any length, to the end of the stack.
//
// Example:
//   ZS_ASSIGN_OR_RETURN(auto server, HttpConnection::Make("https://10.0.0.7:2379", {.ca_file = ca}));
//   HttpAnswer answer = server->Post("/v3/kv/range", "", body, HttpClock::now() + 1s);
//   if (answer.fate == HttpAnswer::Fate::kAnswered && answer.status == 200) …
//
// Threads: one at a time. Post blocks until its deadline at most; but the look-up of a host's name is
// the system's, and so is its time. The process must ignore SIGPIPE, as zsched-broker does.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace zsched::broker {

using HttpClock = std::chrono::steady_clock;

// All that a server may send in answer to one request, TLS aside. etcd's answers have below 1 KiB.
inline constexpr size_t kMaxHttpAnswerBytes = 16 << 10;

struct HttpAnswer {
  enum class Fate {
    kAnswered,  // status and body are the server's
    kNotSent,   // nothing of the request left this process
    kUnknown,   // the server may have acted on it, or may yet
  };
  Fate fate = Fate::kNotSent;
  int status = 0;
  std::string body;
  std::string why;  // there is no answer; part of a sentence: "cannot connect"
};

// Files in PEM; empty: the system's certificate authorities, no certificate of our own.
struct TlsFiles {
  std::string ca_file{};
  std::string cert_file{}, key_file{};
};

class HttpConnection {
 public:
  // Connects with the first request. `url`: "http://HOST:PORT" or "https://HOST:PORT".
  // INVALID_ARGUMENT: the URL, or a file of `tls`, is none that can be used.
  static absl::StatusOr<std::unique_ptr<HttpConnection>> Make(const std::string& url,
                                                              const TlsFiles& tls);
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;
  ~HttpConnection();

  const std::string& url() const { return url_; }

  // Posts JSON. `token`: the Authorization header, when not empty. The connection is kept for the next
  // request while both sides like; no request is sent twice.
  HttpAnswer Post(const std::string& path, const std::string& token, const std::string& body,
                  HttpClock::time_point deadline);

 private:
  class Client;
  HttpConnection(std::string url, std::unique_ptr<Client> client);

  const std::string url_;
  const std::unique_ptr<Client> client_;
};

}  // namespace zsched::broker
