#include "broker/replication/http_connection.h"

#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/text.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr std::string_view kPlain = "http://";
constexpr std::string_view kTls = "https://";
// Below this there is no sense in beginning anything.
constexpr milliseconds kShortestWait{1};

// What one request may still use.
struct Allowance {
  HttpClock::time_point deadline;
  size_t bytes = 0;

  milliseconds Left() const {
    return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(deadline - HttpClock::now()));
  }
};

// A connected socket, with TLS or without, that obeys an allowance.
class BoundedStream final : public httplib::Stream {
 public:
  BoundedStream(int fd, SSL* ssl, Allowance& allowance)
      : fd_(fd), ssl_(ssl), allowance_(allowance) {
    // httplib sets it back to blocking after the handshake. TLS needs it here to come back at all;
    // nothing else of httplib that touches this socket minds.
    fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK);
  }

  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return fd_; }

  ssize_t read(char* bytes, size_t size) override {
    size = std::min(size, allowance_.bytes);
    if (size == 0) return -1;
    ssize_t got = Repeat(POLLIN, [&] {
      return ssl_ != nullptr ? SSL_read(ssl_, bytes, static_cast<int>(size))
                             : recv(fd_, bytes, size, 0);
    });
    if (got > 0) allowance_.bytes -= static_cast<size_t>(got);
    return got;
  }

  ssize_t write(const char* bytes, size_t size) override {
    return Repeat(POLLOUT, [&] {
      return ssl_ != nullptr ? SSL_write(ssl_, bytes, static_cast<int>(size))
                             : send(fd_, bytes, size, MSG_NOSIGNAL);
    });
  }

 private:
  // Until the call does something, fails for good, or time is up.
  template <class Call>
  ssize_t Repeat(short plain_event, Call call) {
    while (true) {
      ERR_clear_error();  // SSL_get_error looks at what others left there
      const ssize_t result = call();
      if (result > 0) return result;
      const short event = EventAfter(result, plain_event);
      if (event == 0 || !Wait(event)) return result == 0 ? 0 : -1;
    }
  }

  // What to wait for after a call that did nothing; 0: it failed, or the stream has ended.
  short EventAfter(ssize_t result, short plain_event) const {
    if (ssl_ == nullptr)
      return result < 0 && (errno == EAGAIN || errno == EINTR) ? plain_event : short{0};
    switch (SSL_get_error(ssl_, static_cast<int>(result))) {
      case SSL_ERROR_WANT_READ:
        return POLLIN;
      case SSL_ERROR_WANT_WRITE:
        return POLLOUT;
      default:
        return 0;
    }
  }

  bool Wait(short event) const {
    pollfd ready{fd_, event, 0};
    while (true) {
      const milliseconds left = allowance_.Left();
      if (left.count() == 0) return false;
      const int count = poll(&ready, 1, static_cast<int>(left.count()));
      if (count >= 0 || errno != EINTR) return count > 0;
    }
  }

  const int fd_;
  SSL* const ssl_;
  Allowance& allowance_;
};

// A client of httplib whose requests go through a BoundedStream. Its own stream is made, and used,
// in this one virtual method only.
template <class Base>
class Bounded final : public Base {
 public:
  template <class... Arguments>
  explicit Bounded(Allowance& allowance, const Arguments&... arguments)
      : Base(arguments...), allowance_(allowance) {}

 private:
  bool process_socket(const typename Base::Socket& socket,
                      std::function<bool(httplib::Stream&)> callback) override {
    BoundedStream stream(socket.sock, socket.ssl, allowance_);
    return callback(stream);
  }

  Allowance& allowance_;
};

bool WasSent(httplib::Error error) {
  switch (error) {
    case httplib::Error::Success:  // and yet no result: the TLS context could not be made
    case httplib::Error::Connection:
    case httplib::Error::ConnectionTimeout:
    case httplib::Error::BindIPAddress:
    case httplib::Error::SSLConnection:
    case httplib::Error::SSLLoadingCerts:
    case httplib::Error::SSLServerVerification:
      return false;
    default:
      return true;
  }
}

std::string Explain(httplib::Error error, const Allowance& allowance) {
  switch (error) {
    case httplib::Error::Connection:
      return "cannot connect";
    case httplib::Error::ConnectionTimeout:
      return "cannot connect in time";
    case httplib::Error::SSLConnection:
      return "no TLS handshake (is it https there?)";
    case httplib::Error::SSLLoadingCerts:
      return "the CA file cannot be read";
    case httplib::Error::SSLServerVerification:
      return "its certificate is not signed by the CA, or is for another host";
    default:
      break;
  }
  if (allowance.Left().count() == 0) return "no answer in time";
  if (allowance.bytes == 0) return "an answer that is too long";
  return "the connection broke before the answer";
}

absl::Status BadUrl(const std::string& url) {
  return Error(ErrorCode::kInvalidArgument,
               "'" + url + "' is no URL of etcd; write http://HOST:PORT or https://HOST:PORT");
}

// By what TLS itself says of them.
absl::Status CheckFiles(const TlsFiles& files) {
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()),
                                                       &SSL_CTX_free);
  ZS_CHECK(context != nullptr);
  const auto unusable = [](const std::string& file, const char* what) {
    return Error(ErrorCode::kInvalidArgument,
                 "'" + file + "' has no " + what + " in PEM that can be read; name another file");
  };
  if (!files.ca_file.empty() &&
      SSL_CTX_load_verify_locations(context.get(), files.ca_file.c_str(), nullptr) != 1)
    return unusable(files.ca_file, "certificate of an authority");
  if (files.cert_file.empty() != files.key_file.empty())
    return Error(ErrorCode::kInvalidArgument,
                 "a client certificate and its key go together; name both files, or neither");
  if (files.cert_file.empty()) return absl::OkStatus();
  if (SSL_CTX_use_certificate_file(context.get(), files.cert_file.c_str(), SSL_FILETYPE_PEM) != 1)
    return unusable(files.cert_file, "certificate");
  if (SSL_CTX_use_PrivateKey_file(context.get(), files.key_file.c_str(), SSL_FILETYPE_PEM) != 1)
    return unusable(files.key_file, "key of that certificate");
  return absl::OkStatus();
}

}  // namespace

class HttpConnection::Client {
 public:
  Client(HostPort address, bool tls, TlsFiles files)
      : address_(std::move(address)), tls_(tls), files_(std::move(files)) {
    Renew();
  }

  HttpAnswer Post(httplib::Request& request, HttpClock::time_point deadline) {
    allowance_ = {deadline, kMaxHttpAnswerBytes};
    const microseconds wait = std::max(kShortestWait, allowance_.Left());
    http_->set_connection_timeout(wait.count() / std::micro::den, wait.count() % std::micro::den);
    httplib::Response response;
    httplib::Error error = httplib::Error::Success;
    bool whole;
    try {
      whole = http_->send(request, response, error);
    } catch (const std::exception&) {  // its parser's, so the request has left
      Renew();
      return {HttpAnswer::Fate::kUnknown, 0, {}, "an answer that is not HTTP"};
    }
    // etcd's refusals end with trailers, which httplib takes for a broken answer. Whether what came of
    // one is all that matters of it, its reader sees.
    if (whole || response.status >= kFirstErrorStatus)
      return {HttpAnswer::Fate::kAnswered, response.status, std::move(response.body), {}};
    const auto fate = WasSent(error) ? HttpAnswer::Fate::kUnknown : HttpAnswer::Fate::kNotSent;
    return {fate, 0, {}, Explain(error, allowance_)};
  }

 private:
  static constexpr int kFirstErrorStatus = 400;

  // Begins with no connection.
  void Renew() {
    if (tls_) {
      http_ = std::make_unique<Bounded<httplib::SSLClient>>(
          allowance_, address_.host, address_.port, files_.cert_file, files_.key_file);
      if (!files_.ca_file.empty()) http_->set_ca_cert_path(files_.ca_file);
      http_->enable_server_certificate_verification(true);
    } else {
      http_ =
          std::make_unique<Bounded<httplib::ClientImpl>>(allowance_, address_.host, address_.port);
    }
    http_->set_keep_alive(true);
    http_->set_tcp_nodelay(true);
    http_->set_decompress(false);
  }

  const HostPort address_;
  const bool tls_;
  const TlsFiles files_;
  Allowance allowance_;  // of the request under way
  std::unique_ptr<httplib::ClientImpl> http_;
};

HttpConnection::HttpConnection(std::string url, std::unique_ptr<Client> client)
    : url_(std::move(url)), client_(std::move(client)) {}

HttpConnection::~HttpConnection() = default;

absl::StatusOr<std::unique_ptr<HttpConnection>> HttpConnection::Make(const std::string& url,
                                                                     const TlsFiles& tls) {
  const bool is_tls = url.starts_with(kTls);
  if (!is_tls && !url.starts_with(kPlain)) return BadUrl(url);
  std::string rest = url.substr(is_tls ? kTls.size() : kPlain.size());
  if (rest.ends_with('/')) rest.pop_back();
  absl::StatusOr<HostPort> address = ParseHostPort(rest);
  if (!address.ok() || address->port == 0) return BadUrl(url);
  if (is_tls) ZS_RETURN_IF_ERROR(CheckFiles(tls));
  auto client = std::make_unique<Client>(*address, is_tls, tls);
  return std::unique_ptr<HttpConnection>(new HttpConnection(url, std::move(client)));
}

HttpAnswer HttpConnection::Post(const std::string& path, const std::string& token,
                                const std::string& body, HttpClock::time_point deadline) {
  httplib::Request request;
  request.method = "POST";
  request.path = path;
  request.headers.emplace("Content-Type", "application/json");
  // httplib would ask for compression; an answer is shorter than what that saves.
  request.headers.emplace("Accept-Encoding", "identity");
  if (!token.empty()) request.headers.emplace("Authorization", token);
  request.body = body;
  return client_->Post(request, deadline);
}

}  // namespace zsched::broker
