#include "broker/replication/etcd_register.h"

#include <chrono>
#include <optional>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "broker/replication/etcd_messages.h"
#include "broker/replication/http_connection.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

using std::chrono::milliseconds;

constexpr int kHttpOk = 200;
constexpr int kHttpUnauthorized = 401;
constexpr int kHttpNotFound = 404;

using Servers = std::vector<std::unique_ptr<HttpConnection>>;

// Whether another server may be asked what one might have acted on: yes when twice does no harm.
enum class Repeat { kNo, kYes };

struct Reply {
  absl::Status status;  // OK: `body` is etcd's answer
  std::string body{};
  EtcdError error{};        // etcd has refused
  bool maybe_done = false;  // not OK: etcd may have acted on it, or may yet
};

// The texts are etcd's own (api/v3rpc/rpctypes).
bool IsAboutToken(int http_status, const EtcdError& error) {
  const auto says = [&](const char* text) { return error.message.find(text) != std::string::npos; };
  return http_status == kHttpUnauthorized || error.code == EtcdError::kUnauthenticated ||
         says("invalid auth token") || says("user name is empty") ||
         says("revision of auth store is old") || says("revision in header is old");
}

// What etcd has refused it has not done; the code then. Other errors leave that open.
std::optional<ErrorCode> RefusalOf(int http_status, const EtcdError& error) {
  if (IsAboutToken(http_status, error)) return ErrorCode::kPermissionDenied;
  switch (error.code) {
    case EtcdError::kPermissionDenied:
      return ErrorCode::kPermissionDenied;
    case EtcdError::kResourceExhausted:
      return ErrorCode::kResourceExhausted;
    case EtcdError::kInvalidArgument:
    case EtcdError::kNotFound:
    case EtcdError::kFailedPrecondition:
      return ErrorCode::kInvalidArgument;
    default:
      return std::nullopt;
  }
}

class EtcdRegister final : public RegisterStore {
 public:
  EtcdRegister(EtcdOptions options, Servers servers)
      : options_(std::move(options)), servers_(std::move(servers)) {}

  absl::StatusOr<Register> Read() override;
  absl::StatusOr<Register> Swap(const Register& expected, const Register& wanted) override;

 private:
  // The register, and the revision at which it was written; 0: there is no key.
  struct Standing {
    Register value;
    int64_t revision = 0;
  };

  // What stands there now, with nothing of ours on its way.
  absl::StatusOr<Standing> ReadSettled();
  absl::StatusOr<Standing> Settle();
  // What stands there after an attempt to put `wanted` in the place of `now`.
  absl::StatusOr<Standing> Try(const Standing& now, const Register& wanted);
  absl::StatusOr<Standing> StandingOf(const EtcdValue& value) const;
  absl::StatusOr<Standing> Outcome(const TxnAnswer& answer, const Register& written) const;
  std::string Txn(const Standing& now, const Register& wanted) const {
    return TxnRequest(options_.key, now.revision, ToText(wanted));
  }

  // Sends with a token, and once more with a new one when etcd refuses it.
  Reply Call(const char* path, const std::string& body, Repeat repeat);
  absl::Status Authenticate();
  // Asks one server after the other, until one answers.
  Reply Send(const char* path, const std::string& body, Repeat repeat);
  // nullopt: it has not answered, and `why` says so.
  std::optional<Reply> Judge(const HttpConnection& server, HttpAnswer answer,
                             std::string& why) const;
  absl::Status Refused(const HttpConnection& server, ErrorCode code, const EtcdError& error) const;
  absl::Status Unanswered(const std::string& whys) const;

  void Begin() { deadline_ = HttpClock::now() + milliseconds(options_.timeout_ms); }
  HttpClock::time_point DeadlineOf(size_t servers_left) const {
    const auto now = HttpClock::now();
    return servers_left > 1 ? now + (deadline_ - now) / 2 : deadline_;
  }

  const EtcdOptions options_;
  const Servers servers_;
  size_t current_ = 0;
  std::string token_;
  bool auth_is_off_ = false;  // etcd wants no token
  HttpClock::time_point deadline_;
  std::optional<Standing> unsettled_;  // what a swap began with that has no answer
};

absl::StatusOr<Register> EtcdRegister::Read() {
  Begin();
  ZS_ASSIGN_OR_RETURN(const Standing now, ReadSettled());
  return now.value;
}

absl::StatusOr<Register> EtcdRegister::Swap(const Register& expected, const Register& wanted) {
  ZS_CHECK(!wanted.empty());
  ZS_CHECK_OK(CheckRegister(wanted));
  Begin();
  // See register.h: whoever cannot hear the answer does not get to swap.
  ZS_ASSIGN_OR_RETURN(Standing now, ReadSettled());
  // More than one turn only when the value was rewritten meanwhile, here or elsewhere.
  while (now.value == expected && now.value != wanted) {
    ZS_ASSIGN_OR_RETURN(now, Try(now, wanted));
  }
  return now.value;
}

absl::StatusOr<EtcdRegister::Standing> EtcdRegister::ReadSettled() {
  if (unsettled_) return Settle();
  Reply reply = Call(kEtcdRangePath, RangeRequest(options_.key), Repeat::kYes);
  ZS_RETURN_IF_ERROR(reply.status);
  absl::StatusOr<EtcdValue> value = ParseRange(options_.key, reply.body);
  if (!value.ok()) return Unanswered(MessageOf(value.status()));
  return StandingOf(*value);
}

absl::StatusOr<EtcdRegister::Standing> EtcdRegister::Try(const Standing& now,
                                                         const Register& wanted) {
  Reply reply = Call(kEtcdTxnPath, Txn(now, wanted), Repeat::kNo);
  if (!reply.status.ok() && !reply.maybe_done) return reply.status;
  absl::StatusOr<TxnAnswer> answer = ParseTxn(options_.key, reply.body);
  if (reply.status.ok() && answer.ok()) return Outcome(*answer, wanted);
  unsettled_ = now;
  return Settle();
}

absl::StatusOr<EtcdRegister::Standing> EtcdRegister::Settle() {
  // Twice is as good as once: the second finds the revision over, and what the first has written.
  const Standing before = *unsettled_;
  Reply reply = Call(kEtcdTxnPath, Txn(before, before.value), Repeat::kYes);
  ZS_RETURN_IF_ERROR(reply.status);
  absl::StatusOr<TxnAnswer> answer = ParseTxn(options_.key, reply.body);
  if (!answer.ok()) return Unanswered(MessageOf(answer.status()));
  unsettled_.reset();
  return Outcome(*answer, before.value);
}

absl::StatusOr<EtcdRegister::Standing> EtcdRegister::StandingOf(const EtcdValue& value) const {
  if (value.revision == 0) return Standing{};
  absl::StatusOr<Register> parsed = ParseRegister(value.bytes);
  if (!parsed.ok())
    return Error(
        ErrorCode::kDataLoss,
        "etcd's key " + options_.key + " holds something else: " + MessageOf(parsed.status()) +
            "; stop both brokers, delete the key, and start the one that was active first");
  return Standing{*parsed, value.revision};
}

absl::StatusOr<EtcdRegister::Standing> EtcdRegister::Outcome(const TxnAnswer& answer,
                                                             const Register& written) const {
  if (answer.succeeded) return Standing{written, answer.revision};
  return StandingOf(answer.stands);
}

Reply EtcdRegister::Call(const char* path, const std::string& body, Repeat repeat) {
  if (absl::Status status = Authenticate(); !status.ok()) return {.status = std::move(status)};
  Reply reply = Send(path, body, repeat);
  const bool refused =
      !reply.status.ok() && !reply.maybe_done && IsAboutToken(kHttpOk, reply.error);
  if (!refused || options_.user.empty()) return reply;
  // Tokens end: with time, and with the server that gave them.
  token_.clear();
  auth_is_off_ = false;
  if (absl::Status status = Authenticate(); !status.ok()) return {.status = std::move(status)};
  return Send(path, body, repeat);
}

absl::Status EtcdRegister::Authenticate() {
  if (options_.user.empty() || !token_.empty() || auth_is_off_) return absl::OkStatus();
  Reply reply = Send(kEtcdAuthenticatePath, AuthenticateRequest(options_.user, options_.password),
                     Repeat::kYes);
  if (reply.error.code == EtcdError::kFailedPrecondition) {  // "authentication is not enabled"
    auth_is_off_ = true;
    return absl::OkStatus();
  }
  if (reply.error.code == EtcdError::kInvalidArgument)
    return Error(ErrorCode::kPermissionDenied, "etcd does not let user '" + options_.user +
                                                   "' in (" + reply.error.message +
                                                   "); check user and password");
  ZS_RETURN_IF_ERROR(reply.status);
  absl::StatusOr<std::string> token = ParseToken(reply.body);
  if (!token.ok()) return Unanswered(MessageOf(token.status()));
  token_ = *std::move(token);
  return absl::OkStatus();
}

Reply EtcdRegister::Send(const char* path, const std::string& body, Repeat repeat) {
  std::string whys;
  bool maybe_done = false;
  for (size_t left = servers_.size(); left > 0; --left) {
    if (maybe_done && repeat == Repeat::kNo) break;
    if (HttpClock::now() >= deadline_) break;
    HttpConnection& server = *servers_[current_];
    HttpAnswer answer = server.Post(path, token_, body, DeadlineOf(left));
    maybe_done |= answer.fate != HttpAnswer::Fate::kNotSent;
    std::string why = answer.why;
    if (std::optional<Reply> reply = Judge(server, std::move(answer), why))
      return *std::move(reply);
    whys += (whys.empty() ? "" : ", ") + server.url() + ": " + why;
    current_ = (current_ + 1) % servers_.size();
  }
  return {.status = Unanswered(whys), .maybe_done = maybe_done};
}

std::optional<Reply> EtcdRegister::Judge(const HttpConnection& server, HttpAnswer answer,
                                         std::string& why) const {
  if (answer.fate != HttpAnswer::Fate::kAnswered) return std::nullopt;
  if (answer.status == kHttpOk) {
    why = "what answers is not etcd";
    if (!IsEtcdAnswer(answer.body)) return std::nullopt;
    return Reply{.status = absl::OkStatus(), .body = std::move(answer.body)};
  }
  EtcdError error = ParseEtcdError(answer.body);
  if (answer.status == kHttpUnauthorized) error.code = EtcdError::kUnauthenticated;
  if (std::optional<ErrorCode> code = RefusalOf(answer.status, error))
    return Reply{.status = Refused(server, *code, error), .error = error};
  why = error.message.empty() ? "HTTP status " + std::to_string(answer.status) : error.message;
  if (answer.status == kHttpNotFound) why += " (is it etcd 3.4 or newer, with its gateway on?)";
  return std::nullopt;
}

absl::Status EtcdRegister::Refused(const HttpConnection& server, ErrorCode code,
                                   const EtcdError& error) const {
  std::string text = "etcd at " + server.url() + " refuses (" + error.message + ")";
  if (code == ErrorCode::kPermissionDenied && options_.user.empty())
    text += "; give the broker a user and password of etcd";
  else if (code == ErrorCode::kPermissionDenied)
    text +=
        "; give user '" + options_.user + "' a role that reads and writes the key " + options_.key;
  else if (code == ErrorCode::kResourceExhausted)
    text += "; compact and defragment it, or wait until it has less to do";
  return Error(code, std::move(text));
}

absl::Status EtcdRegister::Unanswered(const std::string& whys) const {
  const bool late = HttpClock::now() >= deadline_;
  std::string text =
      late ? "etcd has not answered within " + std::to_string(options_.timeout_ms) + " ms"
           : "etcd cannot be asked";
  if (!whys.empty()) text += " (" + whys + ")";
  return Error(late ? ErrorCode::kTimedOut : ErrorCode::kUnavailable,
               text + "; check its URLs, and that it runs and has a leader");
}

}  // namespace

std::string EtcdRegisterKey(const std::string& cluster_name) {
  return "/zsched/" + cluster_name + "/register";
}

absl::StatusOr<std::unique_ptr<RegisterStore>> OpenEtcdRegister(const EtcdOptions& options) {
  if (options.urls.empty())
    return Error(ErrorCode::kInvalidArgument, "etcd has no URL; write http://HOST:PORT");
  if (options.key.empty())
    return Error(ErrorCode::kInvalidArgument, "the register's key in etcd has no name");
  if (options.timeout_ms <= 0)
    return Error(ErrorCode::kInvalidArgument, "etcd's timeout is not above 0");
  if (options.user.empty() && !options.password.empty())
    return Error(ErrorCode::kInvalidArgument, "there is a password for etcd, and no user");
  Servers servers;
  for (const std::string& url : options.urls) {
    ZS_ASSIGN_OR_RETURN(servers.emplace_back(),
                        HttpConnection::Make(url, {.ca_file = options.ca_file,
                                                   .cert_file = options.cert_file,
                                                   .key_file = options.key_file}));
  }
  return std::make_unique<EtcdRegister>(options, std::move(servers));
}

}  // namespace zsched::broker
