#include "broker/replication/etcd_messages.h"

#include <absl/strings/escaping.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/check.h"
#include "base/text.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

using Json = nlohmann::json;

absl::Status Malformed(const char* what) {
  return Error(ErrorCode::kMalformed, std::string("etcd's answer ") + what);
}

std::string Base64(std::string_view bytes) {
  return absl::Base64Escape(absl::string_view(bytes.data(), bytes.size()));
}

// Discarded when it is not JSON.
Json Parse(std::string_view text) {
  return Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

// Null when `json` is no object, or has no such field.
const Json& Field(const Json& json, const char* name) {
  static const Json kNone;
  if (!json.is_object()) return kNone;
  const auto field = json.find(name);
  return field == json.end() ? kNone : *field;
}

// A positive number, in digits as the gateway has it.
std::optional<int64_t> RevisionIn(const Json& json, const char* name) {
  const Json& field = Field(json, name);
  if (!field.is_string()) return std::nullopt;
  const auto& text = field.get_ref<const std::string&>();
  int64_t number = 0;
  const char* end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end || number <= 0) return std::nullopt;
  return number;
}

// What a range of one key has found. The gateway leaves out fields that are empty.
absl::StatusOr<EtcdValue> ValueIn(std::string_view key, const Json& range) {
  const Json& found = Field(range, "kvs");
  if (found.is_null()) return EtcdValue{};
  if (!found.is_array() || found.size() > 1) return Malformed("has other than one key");
  if (found.empty()) return EtcdValue{};
  const Json& name = Field(found[0], "key");
  if (!name.is_string() || name.get_ref<const std::string&>() != Base64(key))
    return Malformed("has another key");
  EtcdValue value;
  std::optional<int64_t> revision = RevisionIn(found[0], "mod_revision");
  if (!revision) return Malformed("has a key without its revision");
  value.revision = *revision;
  const Json& bytes = Field(found[0], "value");
  if (bytes.is_null()) return value;
  if (!bytes.is_string() ||
      !absl::Base64Unescape(bytes.get_ref<const std::string&>(), &value.bytes))
    return Malformed("has a value that is not base64");
  return value;
}

absl::StatusOr<TxnAnswer> FailedTxn(std::string_view key, const Json& json) {
  const Json& responses = Field(json, "responses");
  if (!responses.is_array() || responses.size() != 1)
    return Malformed("to a transaction has other than one part");
  const Json& range = Field(responses[0], "response_range");
  if (!range.is_object()) return Malformed("to a transaction does not say what stands there");
  ZS_ASSIGN_OR_RETURN(EtcdValue stands, ValueIn(key, range));
  return TxnAnswer{.succeeded = false, .revision = 0, .stands = std::move(stands)};
}

}  // namespace

std::string RangeRequest(std::string_view key) { return Json{{"key", Base64(key)}}.dump(); }

std::string TxnRequest(std::string_view key, int64_t revision, std::string_view value) {
  const std::string name = Base64(key);
  const Json compare = {{"key", name},
                        {"target", "MOD"},
                        {"result", "EQUAL"},
                        {"mod_revision", std::to_string(revision)}};
  const Json put = {{"request_put", {{"key", name}, {"value", Base64(value)}}}};
  const Json range = {{"request_range", {{"key", name}}}};
  return Json{{"compare", Json::array({compare})},
              {"success", Json::array({put})},
              {"failure", Json::array({range})}}
      .dump();
}

std::string AuthenticateRequest(const std::string& user, const std::string& password) {
  // Whatever bytes a password has: etcd refuses those that are no UTF-8, and dump() must not throw.
  return Json{{"name", user}, {"password", password}}.dump(-1, ' ', false,
                                                           Json::error_handler_t::replace);
}

bool IsEtcdAnswer(std::string_view answer) { return Field(Parse(answer), "header").is_object(); }

absl::StatusOr<EtcdValue> ParseRange(std::string_view key, std::string_view answer) {
  const Json json = Parse(answer);
  if (!Field(json, "header").is_object()) return Malformed("is none of etcd's");
  return ValueIn(key, json);
}

absl::StatusOr<TxnAnswer> ParseTxn(std::string_view key, std::string_view answer) {
  const Json json = Parse(answer);
  const Json& header = Field(json, "header");
  if (!header.is_object()) return Malformed("is none of etcd's");
  const Json& succeeded = Field(json, "succeeded");
  if (succeeded.is_null() || succeeded == false) return FailedTxn(key, json);
  std::optional<int64_t> revision = RevisionIn(header, "revision");
  if (succeeded != true || !revision) return Malformed("to a transaction has no revision");
  return TxnAnswer{.succeeded = true, .revision = *revision, .stands = {}};
}

absl::StatusOr<std::string> ParseToken(std::string_view answer) {
  const Json json = Parse(answer);
  const Json& token = Field(json, "token");
  if (!token.is_string()) return Malformed("has no token");
  const auto& text = token.get_ref<const std::string&>();
  // It becomes a header.
  for (const char c : text)
    if (c <= ' ' || c > '~') return Malformed("has a token with other than printable characters");
  if (text.empty()) return Malformed("has an empty token");
  return text;
}

EtcdError ParseEtcdError(std::string_view answer) {
  const Json json = Parse(answer);
  EtcdError error;
  const Json& code = Field(json, "code");
  if (code.is_number_unsigned() && code.get<uint64_t>() < 100) error.code = code.get<int>();
  const Json& message = Field(json, "error");
  if (!message.is_string()) return error;
  for (const char c : CutUtf8(message.get_ref<const std::string&>(), kMaxEtcdMessageBytes))
    error.message += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  return error;
}

}  // namespace zsched::broker
