// What is said to etcd's v3 JSON gateway, and how its answers are read. Owned by broker/replication;
// pure.
//
// Keys and values are base64 in JSON; 64-bit numbers are strings. Answers come from a network: every
// reader takes any bytes, of the length that HttpConnection lets through.
//
// Example:
//   std::string body = TxnRequest(key, 7, "new");     // POST /v3/kv/txn
//   ZS_ASSIGN_OR_RETURN(TxnAnswer answer, ParseTxn(key, body_of_the_answer));
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace zsched::broker {

inline constexpr char kEtcdRangePath[] = "/v3/kv/range";
inline constexpr char kEtcdTxnPath[] = "/v3/kv/txn";
inline constexpr char kEtcdAuthenticatePath[] = "/v3/auth/authenticate";

// A key as it stands.
struct EtcdValue {
  int64_t revision = 0;  // of the cluster, when the key was written last; 0: there is no such key
  std::string bytes;
};

struct TxnAnswer {
  bool succeeded = false;
  int64_t revision = 0;  // succeeded: that of the key now
  EtcdValue stands;      // not succeeded: what stands there instead
};

// An error as gRPC has it.
struct EtcdError {
  // https://grpc.github.io/grpc/core/md_doc_statuscodes.html
  enum Code {
    kUnknown = 2,
    kInvalidArgument = 3,
    kNotFound = 5,
    kPermissionDenied = 7,
    kResourceExhausted = 8,
    kFailedPrecondition = 9,
    kUnauthenticated = 16,
  };
  int code = kUnknown;  // also of an answer that is none of etcd's
  std::string message;  // one line that can be printed, at most kMaxEtcdMessageBytes; may be empty
};
inline constexpr size_t kMaxEtcdMessageBytes = 200;

// A linearizable read of one key.
std::string RangeRequest(std::string_view key);
// Writes `value` when the key's revision is still `revision`, and otherwise reads the key.
std::string TxnRequest(std::string_view key, int64_t revision, std::string_view value);
std::string AuthenticateRequest(const std::string& user, const std::string& password);

// Whether it can be etcd's own: every answer of it that is not an error has a header.
bool IsEtcdAnswer(std::string_view answer);

// MALFORMED: this is no such answer.
absl::StatusOr<EtcdValue> ParseRange(std::string_view key, std::string_view answer);
absl::StatusOr<TxnAnswer> ParseTxn(std::string_view key, std::string_view answer);
absl::StatusOr<std::string> ParseToken(std::string_view answer);
// Of an answer whose HTTP status is not 200.
EtcdError ParseEtcdError(std::string_view answer);

}  // namespace zsched::broker
