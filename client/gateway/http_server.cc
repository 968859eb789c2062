#include "client/gateway/http_server.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "client/gateway/connection.h"
#include "client/gateway/head.h"
#include "schemas/errors.h"

namespace zsched::gateway {
namespace {

// Of one connection, so that a balancer in front can move clients.
constexpr int kMaxRequests = 100'000;
// A stream with nothing to say looks so often whether its reader is still there.
constexpr int64_t kStreamLookMs = 100;
// Connections that the kernel holds until they are accepted: a burst of clients.
constexpr int kBacklog = 512;
// How soon the listener hears that the gateway ends, and tries again after an error of accept().
constexpr int kAcceptLookMs = 100;
// A connection without a request may stay so long when few are left.
constexpr int64_t kCrowdedIdleMs = 1000;
// Bodies larger than this share max_bodies_bytes.
constexpr uint64_t kSmallBodyBytes = 64 << 10;

struct Served {
  Connection& connection;
  Request request;
};
// The request that this thread has given to the library.
thread_local Served* serving = nullptr;

std::optional<Method> MethodOf(std::string_view name) {
  if (name == "HEAD") return Method::kGet;
  for (Method method : {Method::kGet, Method::kPost, Method::kPut, Method::kPatch, Method::kDelete})
    if (NameOf(method) == name) return method;
  return std::nullopt;
}

absl::Status Malformed(std::string what) { return Error(ErrorCode::kMalformed, std::move(what)); }

// A whole answer as text, for what never reaches the library. The connection ends with it.
std::string LastAnswer(const Reply& reply) {
  std::string text =
      absl::StrCat("HTTP/1.1 ", reply.status, " ", std::string(TitleOf(reply.status)),
                   "\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n"
                   "Cache-Control: no-store\r\nContent-Type: ",
                   reply.content_type, "\r\nContent-Length: ", reply.body.size(), "\r\n");
  for (const auto& [name, value] : reply.headers) absl::StrAppend(&text, name, ": ", value, "\r\n");
  return absl::StrCat(text, "\r\n", reply.body);
}

// A thread for each connection: made when there is none to spare, kept for the next one.
class ConnectionThreads {
 public:
  explicit ConnectionThreads(size_t most) : most_(most) {}

  // False: there is no thread for it, and there may be none.
  bool Run(std::function<void()> serve) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (idle_ <= waiting_.size()) {
      if (threads_.size() >= most_) return false;
      try {
        threads_.emplace_back([this] { Work(); });
      } catch (const std::system_error&) {
        return false;  // the system gives none; those that are there go on
      }
      ++idle_;  // it is about to be
    }
    waiting_.push_back(std::move(serve));
    lock.unlock();
    work_.notify_one();
    return true;
  }

  void Stop() {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      stop_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void Work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      work_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      --idle_;
      std::function<void()> serve = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      serve();
      serve = nullptr;
      lock.lock();
      ++idle_;
    }
  }

  const size_t most_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<std::function<void()>> waiting_;
  std::vector<std::thread> threads_;
  size_t idle_ = 0;  // threads that wait, or are about to
  bool stop_ = false;
};

// Connections that those without a request leave free for others: clients that keep theirs open, or say nothing,
// do not shut out the probes of an orchestrator, which would end the gateway for it.
size_t Reserve(size_t max_connections) { return std::max(max_connections / 8, size_t{1}); }

// A part of the bytes that bodies in work may have together.
class BodyShare {
 public:
  BodyShare(std::atomic<int64_t>& left, uint64_t bytes)
      : left_(left), bytes_(bytes <= kSmallBodyBytes ? 0 : static_cast<int64_t>(bytes)) {
    granted_ = left_.fetch_sub(bytes_) >= bytes_;
  }
  ~BodyShare() { left_.fetch_add(bytes_); }
  BodyShare(const BodyShare&) = delete;
  BodyShare& operator=(const BodyShare&) = delete;
  bool granted() const { return granted_; }

 private:
  std::atomic<int64_t>& left_;
  const int64_t bytes_;
  bool granted_ = false;
};

// Writes what a stream says through the library's chunks, and looks after the reader.
class StreamSink final : public Sink {
 public:
  StreamSink(httplib::DataSink& chunks, Connection& connection, const std::atomic<bool>& stop)
      : chunks_(chunks), connection_(connection), stop_(stop) {}
  bool Write(std::string_view bytes) override {
    return !stop_ && chunks_.write(bytes.data(), bytes.size()) && connection_.Flush();
  }
  bool Sleep(int64_t ms) override {
    const int64_t end_ms = SystemNow().mono_ms + ms;
    for (int64_t left_ms = ms; left_ms > 0; left_ms = end_ms - SystemNow().mono_ms) {
      if (stop_ || connection_.PeerGone()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(std::min(left_ms, kStreamLookMs)));
    }
    return !stop_ && !connection_.PeerGone();
  }

 private:
  httplib::DataSink& chunks_;
  Connection& connection_;
  const std::atomic<bool>& stop_;
};

Request RequestOf(const Head& head, Connection& connection) {
  Request request;
  request.method = MethodOf(head.method).value_or(Method::kGet);
  const std::string_view target = std::string_view(head.target).substr(0, head.target.find('#'));
  const size_t mark = std::min(target.find('?'), target.size());
  request.path = std::string(target.substr(0, mark));
  if (mark < target.size()) request.ParseQuery(target.substr(mark + 1));
  request.headers = head.headers;
  request.http_1_0 = head.http_1_0;
  request.peer_gone = [&connection] { return connection.PeerGone(); };
  int port = 0;
  connection.get_remote_ip_and_port(request.remote, port);
  return request;
}

// A listening socket. UNAVAILABLE says why there is none; port 0 becomes the one that was free.
absl::StatusOr<int> Listen(HostPort& address) {
  const auto failed = [&](const char* why) {
    return Error(ErrorCode::kUnavailable,
                 absl::StrCat("cannot listen on ", ToString(address), ": ", why));
  };
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  const char* host = address.host == "*" ? nullptr : address.host.c_str();
  if (const int error = getaddrinfo(host, port.c_str(), &hints, &found); error != 0)
    return failed(gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, &freeaddrinfo);
  const int fd = socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return failed(std::strerror(errno));
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, kBacklog) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    const int error = errno;
    close(fd);
    return failed(std::strerror(error));
  }
  char number[NI_MAXSERV];
  if (getnameinfo(reinterpret_cast<sockaddr*>(&bound), size, nullptr, 0, number, sizeof number,
                  NI_NUMERICSERV) == 0)
    address.port = std::atoi(number);
  return fd;
}

}  // namespace

class HttpServer::Impl final : public httplib::Server {
 public:
  Impl(const HttpOptions& options, Serve serve)
      : options_(options),
        serve_(std::move(serve)),
        threads_(options.max_connections),
        bodies_left_(static_cast<int64_t>(options.max_bodies_bytes)) {
    set_keep_alive_timeout(options_.idle_ms / 1000);
    set_keep_alive_max_count(kMaxRequests);
    // What the library gets is a request for "/" without a body: the real one is in `serving`.
    const auto answer = [this](const httplib::Request&, httplib::Response& response) {
      Send(serve_(serving->request), response);
    };
    Get("/", answer);
    Post("/", answer);
    Put("/", answer);
    Patch("/", answer);
    Delete("/", answer);
    set_exception_handler(
        [this](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
          Send(ProblemReply(Error(ErrorCode::kInternal, "the request could not be answered"),
                            serving->request),
               response);
        });
  }
  ~Impl() override { StopServing(); }

  absl::Status Bind() {
    address_ = options_.listen;
    ZS_ASSIGN_OR_RETURN(listening_, Listen(address_));
    svr_sock_ = listening_;  // the library ends streams when it has none
    return absl::OkStatus();
  }

  void Start() {
    listener_ = std::thread([this] { AcceptAll(); });
  }

  void StopServing() {
    if (listening_ < 0) return;
    stop_.store(true);
    if (listener_.joinable()) listener_.join();
    close(std::exchange(listening_, -1));
    threads_.Stop();
  }

  const HostPort& address() const { return address_; }

 private:
  // Whatever accept() says, it is tried again: its errors are those of one connection, or pass.
  void AcceptAll() {
    bool failing = false;
    while (!stop_) {
      pollfd one{.fd = listening_, .events = POLLIN, .revents = 0};
      if (poll(&one, 1, kAcceptLookMs) <= 0) continue;
      const int fd = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) {
        failing = false;
        if (!threads_.Run([this, fd] { ServeConnection(fd); })) Refuse(fd);
      } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        if (!failing)
          Log(Level::kWarn, "connections cannot be accepted", {{"error", std::strerror(errno)}});
        failing = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(kAcceptLookMs));
      }
    }
  }

  static void Refuse(int fd) {
    static const std::string* const answer = [] {
      Request none;
      none.path = "/";
      return new std::string(LastAnswer(ProblemReply(
          503,
          Error(ErrorCode::kResourceExhausted, "the gateway has as many connections as it takes"),
          none)));
    }();
    (void)send(fd, answer->data(), answer->size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    close(fd);
  }

  void ServeConnection(int fd) {
    connections_.fetch_add(1);
    bool counted = true;
    {
      Connection connection(fd, options_.write_ms, stop_);
      const auto gives_way = [&] { return !(counted = !IsTooMany()); };
      bool open = true;
      for (int left = kMaxRequests; open && left > 0; --left)
        open = connection.AwaitRequest(options_.idle_ms, kCrowdedIdleMs, gives_way) &&
               ServeRequest(connection, left == 1);
    }
    if (counted) connections_.fetch_sub(1);
  }

  // True for as many as there are too many: each is no longer counted then, and ends.
  bool IsTooMany() {
    const size_t most = options_.max_connections - Reserve(options_.max_connections);
    size_t now = connections_.load();
    while (now > most)
      if (connections_.compare_exchange_weak(now, now - 1)) return true;
    return false;
  }

  // False: the connection ends.
  bool ServeRequest(Connection& connection, bool last) {
    const std::optional<std::string> text = connection.ReadHead(options_.request_ms);
    if (!text && connection.head_too_long())
      return GiveUp(connection, 431, Malformed("the headers are too long"));
    if (!text) return false;
    auto read = ParseHead(*text);
    if (const HeadError* error = std::get_if<HeadError>(&read))
      return GiveUp(connection, error->status, Malformed(std::string(error->what)));
    const Head& head = std::get<Head>(read);
    Request request = RequestOf(head, connection);
    if (head.body_bytes > options_.max_body_bytes)
      return GiveUp(connection, 413,
                    Error(ErrorCode::kTooLarge, absl::StrCat("the body is longer than ",
                                                             options_.max_body_bytes, " bytes")));
    const BodyShare share(bodies_left_, head.body_bytes);
    if (!share.granted())
      return GiveUp(connection, 429,
                    Error(ErrorCode::kResourceExhausted, "too many large bodies are here at once"));
    if (!MethodOf(head.method))
      return GiveUp(connection, 405, Malformed("this method is not taken anywhere"));
    if (head.expects_continue && head.body_bytes > 0)
      connection.write("HTTP/1.1 100 Continue\r\n\r\n");
    if (!connection.ReadBody(head.body_bytes, &request.body)) return false;
    return Answer(connection, head, std::move(request), last);
  }

  bool Answer(Connection& connection, const Head& head, Request request, bool last) {
    const bool close = last || !head.keep_alive;
    const auto encoding = head.headers.find("accept-encoding");
    connection.Offer(absl::StrCat(head.method, " / HTTP/1.1\r\n",
                                  encoding == head.headers.end()
                                      ? ""
                                      : absl::StrCat("Accept-Encoding: ", encoding->second, "\r\n"),
                                  close ? "Connection: close\r\n" : "",
                                  "Content-Length: 0\r\n\r\n"));
    Served served{connection, std::move(request)};
    serving = &served;
    bool closed = false;
    const bool done = process_request(connection, close, closed, nullptr);
    serving = nullptr;
    return connection.Flush() && done && !closed && !close;
  }

  // Answers what never gets to a handler. What else comes on this connection is not looked at.
  bool GiveUp(Connection& connection, int status, const absl::Status& error) {
    Request request;
    request.path = "/";
    connection.Abandon();
    connection.write(LastAnswer(ProblemReply(status, error, request)));
    connection.Flush();
    return false;
  }

  void Send(Reply reply, httplib::Response& response) {
    response.status = reply.status;
    response.set_header("X-Content-Type-Options", "nosniff");
    bool cached = false;
    for (const auto& [name, value] : reply.headers) {
      response.set_header(name, value);
      cached = cached || name == "Cache-Control";
    }
    if (!cached) response.set_header("Cache-Control", "no-store");
    if (!reply.stream) {
      if (!reply.body.empty()) response.set_content(reply.body, reply.content_type);
      return;
    }
    response.set_chunked_content_provider(
        reply.content_type,
        [this, stream = std::move(reply.stream)](size_t, httplib::DataSink& chunks) {
          StreamSink sink(chunks, serving->connection, stop_);
          // The headers, for a reader that waits for them before anything has happened.
          if (serving->connection.Flush()) stream(sink);
          chunks.done();
          return true;
        });
  }

  const HttpOptions options_;
  const Serve serve_;
  HostPort address_;
  ConnectionThreads threads_;
  std::atomic<size_t> connections_{0};  // that are served
  std::atomic<int64_t> bodies_left_;
  std::atomic<bool> stop_{false};
  int listening_ = -1;
  std::thread listener_;
};

HttpServer::HttpServer(const HttpOptions& options, Serve serve)
    : impl_(std::make_unique<Impl>(options, std::move(serve))) {}
HttpServer::~HttpServer() { Stop(); }
absl::Status HttpServer::Bind() { return impl_->Bind(); }
void HttpServer::Start() { impl_->Start(); }
void HttpServer::Stop() { impl_->StopServing(); }
const HostPort& HttpServer::address() const { return impl_->address(); }

}  // namespace zsched::gateway
