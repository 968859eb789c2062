#include "client/gateway/http_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "client/gateway/connection.h"
#include "schemas/errors.h"

namespace zsched::gateway {
namespace {

// Longer paths are nobody's; the library matches them by a regular expression, which costs stack.
constexpr size_t kMaxPathBytes = 2048;
// Of one connection, so that a balancer in front can move clients.
constexpr int kMaxRequests = 100'000;
// Connections that the kernel holds until they are accepted.
constexpr int kBacklog = 512;
// A stream with nothing to say looks so often whether its reader is still there.
constexpr int64_t kStreamLookMs = 100;

// What one connection too many gets; without the library, on the thread that accepts.
const std::string& BusyAnswer() {
  static const std::string* const answer = [] {
    Request none;
    none.path = "/";
    const Reply reply = ProblemReply(
        503,
        Error(ErrorCode::kResourceExhausted, "the gateway has as many connections as it takes"),
        none);
    return new std::string(absl::StrCat(
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Type: ",
        reply.content_type, "\r\nContent-Length: ", reply.body.size(), "\r\n\r\n", reply.body));
  }();
  return *answer;
}

// The connection that this thread serves.
thread_local Connection* serving = nullptr;
// This thread accepts, and there is no thread left for the connection at hand.
thread_local bool refusing = false;

// A thread for each connection, made when there is none to spare, kept while it is used now and then.
class ConnectionThreads : public httplib::TaskQueue {
 public:
  explicit ConnectionThreads(size_t most) : most_(most) {}

  void enqueue(std::function<void()> serve) override {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (idle_ > waiting_.size() || threads_.size() < most_) {
        waiting_.push_back(std::move(serve));
        if (waiting_.size() > idle_) threads_.emplace_back([this] { Run(); });
        lock.unlock();
        work_.notify_one();
        return;
      }
    }
    refusing = true;
    serve();
    refusing = false;
  }

  void shutdown() override {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      stop_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void Run() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      ++idle_;
      work_.wait(lock, [this] { return stop_ || !waiting_.empty(); });
      --idle_;
      if (waiting_.empty()) return;
      std::function<void()> serve = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      serve();
      lock.lock();
    }
  }

  const size_t most_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<std::function<void()>> waiting_;
  std::vector<std::thread> threads_;
  size_t idle_ = 0;
  bool stop_ = false;
};

std::optional<Method> MethodOf(const std::string& name) {
  if (name == "HEAD") return Method::kGet;
  for (Method method : {Method::kGet, Method::kPost, Method::kPut, Method::kPatch, Method::kDelete})
    if (NameOf(method) == name) return method;
  return std::nullopt;
}

Request RequestOf(const httplib::Request& from) {
  Request request;
  request.method = MethodOf(from.method).value_or(Method::kGet);
  request.path = from.target.substr(0, from.target.find_first_of("?#"));
  const std::string_view target = std::string_view(from.target).substr(0, from.target.find('#'));
  if (const size_t mark = target.find('?'); mark != std::string_view::npos)
    request.ParseQuery(target.substr(mark + 1));
  for (const auto& [name, value] : from.headers)
    request.headers.emplace(absl::AsciiStrToLower(name), value);
  request.remote = from.remote_addr;
  return request;
}

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

absl::Status Malformed(std::string what) { return Error(ErrorCode::kMalformed, std::move(what)); }

}  // namespace

class HttpServer::Impl final : public httplib::Server {
 public:
  Impl(const HttpOptions& options, Serve serve) : options_(options), serve_(std::move(serve)) {
    new_task_queue = [this] { return new ConnectionThreads(options_.max_connections); };
    const auto with_body = [this](const httplib::Request& request, httplib::Response& response,
                                  const httplib::ContentReader& body) {
      AnswerWithBody(request, response, body);
    };
    const auto without_body = [this](const httplib::Request& request, httplib::Response& response) {
      Answer(RequestOf(request), request, response);
    };
    constexpr char kAnyPath[] = "[\\s\\S]*";
    // Not the library's SO_REUSEPORT, which lets two gateways share a port by mistake.
    set_socket_options([](socket_t listener) {
      const int on = 1;
      setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    });
    set_keep_alive_timeout(options_.idle_ms / 1000);
    set_keep_alive_max_count(kMaxRequests);
    Get(kAnyPath, without_body);
    Options(kAnyPath, without_body);
    Post(kAnyPath, with_body);
    Put(kAnyPath, with_body);
    Patch(kAnyPath, with_body);
    Delete(kAnyPath, with_body);
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      if (request.target.size() <= kMaxPathBytes) return HandlerResponse::Unhandled;
      serving->Abandon();
      Send(ProblemReply(414, Malformed("the request line is too long"), RequestOf(request)),
           response);
      return HandlerResponse::Handled;
    });
    // What the library refuses by itself: the request line, the method, the version.
    set_error_handler(
        HandlerWithResponse([this](const httplib::Request& request, httplib::Response& response) {
          if (!response.body.empty()) return HandlerResponse::Unhandled;
          serving->Abandon();
          Send(ProblemReply(response.status, Malformed("this is no request that can be answered"),
                            RequestOf(request)),
               response);
          return HandlerResponse::Handled;
        }));
    set_exception_handler(
        [this](const httplib::Request& request, httplib::Response& response, std::exception_ptr) {
          Send(ProblemReply(Error(ErrorCode::kInternal, "the request could not be answered"),
                            RequestOf(request)),
               response);
        });
  }

  absl::Status Start() {
    address_ = options_.listen;
    bool bound = false;
    errno = 0;
    if (address_.port == 0) {
      const int port = bind_to_any_port(address_.host);
      bound = port > 0;
      if (bound) address_.port = port;
    } else {
      bound = bind_to_port(address_.host, address_.port);
    }
    if (!bound)
      return Error(ErrorCode::kUnavailable,
                   absl::StrCat("cannot listen on ", ToString(address_), ": ",
                                errno == 0 ? "no such address" : std::strerror(errno)));
    // The library lets five connections wait; a burst of them would be turned away, to try again a second later.
    (void)::listen(svr_sock_, kBacklog);
    listener_ = std::thread([this] { listen_after_bind(); });
    return absl::OkStatus();
  }

  void Stop() {
    if (!listener_.joinable()) return;
    stop_.store(true);
    // The library's stop() does nothing until its loop has begun.
    while (!is_running() && svr_sock_ != INVALID_SOCKET)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    stop();
    listener_.join();
  }

  const HostPort& address() const { return address_; }

 private:
  bool process_and_close_socket(socket_t socket) override {
    if (refusing) {
      const std::string& answer = BusyAnswer();
      (void)send(socket, answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      shutdown(socket, SHUT_WR);
      close(socket);
      return false;
    }
    Connection connection(socket, options_.write_ms, stop_);
    serving = &connection;
    int left = kMaxRequests;
    bool closed = false;
    while (!closed && !connection.abandoned() && left > 0 &&
           connection.AwaitRequest(options_.idle_ms)) {
      connection.BeginRequest(options_.request_ms);
      if (!process_request(connection, --left == 0, closed, [&](httplib::Request& request) {
            connection.BeginBody();
            // Parts of an answer are of no use here, and a list of a thousand overlapping ones costs a lot.
            request.ranges.clear();
          }))
        closed = true;
      if (!connection.Flush()) closed = true;
    }
    serving = nullptr;
    return true;
  }

  // How many bytes of body are announced; nullopt: chunked. The library believes any number, and reads to
  // the end of the connection when there is none.
  absl::StatusOr<std::optional<uint64_t>> BodyBytes(const httplib::Request& from) const {
    const bool chunked = from.has_header("Transfer-Encoding");
    const size_t lengths = from.get_header_value_count("Content-Length");
    if (lengths > 1 || (chunked && lengths > 0))
      return Malformed("Content-Length and Transfer-Encoding: give one of them, once");
    if (chunked) return std::nullopt;
    uint64_t bytes = 0;
    const std::string text = from.get_header_value("Content-Length");
    if (lengths == 1 &&
        (text.empty() || !absl::ascii_isdigit(static_cast<unsigned char>(text[0])) ||
         !absl::SimpleAtoi(text, &bytes)))
      return Malformed("Content-Length is not a number");
    return bytes;
  }

  absl::Status TooLarge() const {
    return Error(ErrorCode::kTooLarge,
                 absl::StrCat("the body is longer than ", options_.max_body_bytes, " bytes"));
  }

  absl::Status ReadBody(const httplib::Request& from, const httplib::ContentReader& body,
                        std::string* to) const {
    ZS_ASSIGN_OR_RETURN(const std::optional<uint64_t> bytes, BodyBytes(from));
    if (bytes == 0) return absl::OkStatus();
    if (bytes && *bytes > options_.max_body_bytes) return TooLarge();
    bool fits = true;
    const bool whole = body([&](const char* data, size_t size) {
      fits = to->size() + size <= options_.max_body_bytes;
      if (fits) to->append(data, size);
      return fits;
    });
    if (!fits) return TooLarge();
    return whole ? absl::OkStatus() : Malformed("the body did not arrive whole, or not in time");
  }

  void AnswerWithBody(const httplib::Request& from, httplib::Response& response,
                      const httplib::ContentReader& body) {
    Request request = RequestOf(from);
    // The library would take it apart, and hand over the parts alone.
    if (from.is_multipart_form_data()) {
      serving->Abandon();
      return Send(
          ProblemReply(415, Malformed("the body is multipart; send application/json"), request),
          response);
    }
    const absl::Status read = ReadBody(from, body, &request.body);
    if (read.ok()) return Answer(std::move(request), from, response);
    serving->Abandon();
    Send(ProblemReply(read, request), response);
  }

  void Answer(Request request, const httplib::Request& from, httplib::Response& response) {
    Reply reply = MethodOf(from.method)
                      ? serve_(request)
                      : ProblemReply(405, Malformed("this method is not taken anywhere"), request);
    Send(std::move(reply), response);
  }

  void Send(Reply reply, httplib::Response& response) {
    response.status = reply.status;
    response.set_header("X-Content-Type-Options", "nosniff");
    if (serving->abandoned()) response.set_header("Connection", "close");
    bool cached = false;
    for (const auto& [name, value] : reply.headers) {
      response.set_header(name, value);
      cached = cached || name == "Cache-Control";
    }
    if (!cached) response.set_header("Cache-Control", "no-store");
    if (!reply.stream) return response.set_content(reply.body, reply.content_type);
    response.set_chunked_content_provider(
        reply.content_type,
        [this, stream = std::move(reply.stream)](size_t, httplib::DataSink& chunks) {
          StreamSink sink(chunks, *serving, stop_);
          // The headers, for a reader that waits for them before anything has happened.
          if (serving->Flush()) stream(sink);
          chunks.done();
          return true;
        });
  }

  const HttpOptions options_;
  const Serve serve_;
  HostPort address_;
  std::thread listener_;
  std::atomic<bool> stop_{false};
};

HttpServer::HttpServer(const HttpOptions& options, Serve serve)
    : impl_(std::make_unique<Impl>(options, std::move(serve))) {}
HttpServer::~HttpServer() { Stop(); }
absl::Status HttpServer::Start() { return impl_->Start(); }
void HttpServer::Stop() { impl_->Stop(); }
const HostPort& HttpServer::address() const { return impl_->address(); }

}  // namespace zsched::gateway
