#include "schemas/errors.h"

#include <array>

#include "absl/strings/cord.h"

namespace zsched {
namespace {

constexpr char kPayloadUrl[] = "zsched/error-code";

constexpr std::array kTable = {
#define ZSCHED_ERROR_ROW(name, number, text, retryable, exit, absl_code) \
  ErrorInfo{ErrorCode::name, text, retryable, exit, absl_code},
    ZSCHED_ERRORS(ZSCHED_ERROR_ROW)
#undef ZSCHED_ERROR_ROW
};

const ErrorInfo* Find(uint16_t number) {
  for (const ErrorInfo& row : kTable)
    if (static_cast<uint16_t>(row.code) == number) return &row;
  return nullptr;
}

}  // namespace

const ErrorInfo& InfoOf(ErrorCode code) {
  const ErrorInfo* row = Find(static_cast<uint16_t>(code));
  return row != nullptr ? *row : *Find(static_cast<uint16_t>(ErrorCode::kInternal));
}

ErrorCode ErrorFromNumber(uint16_t number) {
  return Find(number) != nullptr ? static_cast<ErrorCode>(number) : ErrorCode::kInternal;
}

std::optional<ErrorCode> ErrorFromText(std::string_view text) {
  for (const ErrorInfo& row : kTable)
    if (row.text == text) return row.code;
  return std::nullopt;
}

std::string TextOfErrors(uint64_t set) {
  std::string text;
  for (uint16_t number = 0; number < 64; ++number) {
    if ((set >> number & 1) == 0) continue;
    if (!text.empty()) text += ',';
    const ErrorInfo* row = Find(number);
    text += row != nullptr ? std::string(row->text) : std::to_string(number);
  }
  return text;
}

absl::Status Error(ErrorCode code, std::string message) {
  if (code == ErrorCode::kOk) return absl::OkStatus();
  absl::Status status(InfoOf(code).status, message);
  status.SetPayload(kPayloadUrl, absl::Cord(std::to_string(static_cast<uint16_t>(code))));
  return status;
}

ErrorCode CodeOf(const absl::Status& status) {
  if (status.ok()) return ErrorCode::kOk;
  if (auto payload = status.GetPayload(kPayloadUrl))
    return ErrorFromNumber(static_cast<uint16_t>(std::stoi(std::string(*payload))));
  for (const ErrorInfo& row : kTable)
    if (row.status == status.code()) return row.code;
  return ErrorCode::kInternal;
}

std::string MessageOf(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

}  // namespace zsched
