// The error registry: one row an error, the same for statuses and documentation.
#include "schemas/errors.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

namespace zsched {
namespace {

struct Row {
  const char* enumerator;
  uint16_t number;
  std::string_view text;
  bool retryable;
  int exit_code;
  absl::StatusCode status;
};
constexpr Row kRows[] = {
#define ZSCHED_TEST_ROW(name, number, text, retryable, exit, absl_code) \
  {#name, number, text, retryable, exit, absl_code},
    ZSCHED_ERRORS(ZSCHED_TEST_ROW)
#undef ZSCHED_TEST_ROW
};

TEST(Errors, NumbersAndTextsAreUnique) {
  std::set<uint16_t> numbers;
  std::set<std::string_view> texts;
  for (const Row& row : kRows) {
    EXPECT_TRUE(numbers.insert(row.number).second) << row.text;
    EXPECT_TRUE(texts.insert(row.text).second) << row.text;
  }
}

TEST(Errors, EveryRowIsFoundByNumberAndText) {
  for (const Row& row : kRows) {
    ErrorCode code = ErrorFromNumber(row.number);
    EXPECT_EQ(static_cast<uint16_t>(code), row.number);
    EXPECT_EQ(ErrorFromText(row.text), code);
    EXPECT_EQ(TextOf(code), row.text);
    EXPECT_EQ(IsRetryable(code), row.retryable);
    EXPECT_EQ(InfoOf(code).exit_code, row.exit_code);
  }
}

TEST(Errors, UnknownNumbersReadAsInternal) {
  EXPECT_EQ(ErrorFromNumber(60'000), ErrorCode::kInternal);
  EXPECT_EQ(InfoOf(static_cast<ErrorCode>(60'000)).code, ErrorCode::kInternal);
  EXPECT_EQ(ErrorFromText("NO_SUCH_CODE"), std::nullopt);
}

TEST(Errors, SetsAreNamedInTheOrderOfTheirNumbers) {
  EXPECT_EQ(TextOfErrors(0), "");
  EXPECT_EQ(TextOfErrors(ErrorBit(ErrorCode::kWorkerLost)), "WORKER_LOST");
  EXPECT_EQ(TextOfErrors(ErrorBit(ErrorCode::kDataLoss) | ErrorBit(ErrorCode::kInternal)),
            "INTERNAL,DATA_LOSS");
  EXPECT_EQ(TextOfErrors(uint64_t{1} << 63), "63") << "no code has this number";
  EXPECT_EQ(kAttemptErrors & ErrorBit(ErrorCode::kCancelled), 0u);
}

TEST(Errors, EveryCodeSurvivesAStatus) {
  for (const Row& row : kRows) {
    ErrorCode code = ErrorFromNumber(row.number);
    absl::Status status = Error(code, "what is wrong");
    EXPECT_EQ(CodeOf(status), code) << row.text;
    EXPECT_EQ(status.code(), row.status) << row.text;
    EXPECT_EQ(status.ok(), code == ErrorCode::kOk);
    if (!status.ok()) {
      EXPECT_EQ(MessageOf(status), "what is wrong");
    }
  }
}

TEST(Errors, StatusesMadeElsewhereGetTheNearestRow) {
  EXPECT_EQ(CodeOf(absl::OkStatus()), ErrorCode::kOk);
  EXPECT_EQ(CodeOf(absl::NotFoundError("x")), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(absl::UnavailableError("x")), ErrorCode::kUnavailable);
  EXPECT_EQ(CodeOf(absl::DeadlineExceededError("x")), ErrorCode::kTimedOut);
  EXPECT_EQ(CodeOf(absl::OutOfRangeError("x")), ErrorCode::kInternal);
}

// The exit codes that scripts rely on.
TEST(Errors, ExitCodesAreTheDocumentedOnes) {
  EXPECT_EQ(InfoOf(ErrorCode::kOk).exit_code, 0);
  EXPECT_EQ(InfoOf(ErrorCode::kInvalidArgument).exit_code, 2);
  EXPECT_EQ(InfoOf(ErrorCode::kNotFound).exit_code, 3);
  EXPECT_EQ(InfoOf(ErrorCode::kConflict).exit_code, 4);
  EXPECT_EQ(InfoOf(ErrorCode::kUnavailable).exit_code, 5);
  EXPECT_EQ(InfoOf(ErrorCode::kPermissionDenied).exit_code, 6);
  EXPECT_EQ(InfoOf(ErrorCode::kResourceExhausted).exit_code, 7);
  EXPECT_EQ(InfoOf(ErrorCode::kTimedOut).exit_code, 124);
}

// docs/errors.md has the line "| NUMBER | `TEXT` | yes/no | EXIT | meaning |" for each row.
TEST(Errors, TheDocumentationListsExactlyTheseRows) {
  std::ifstream file(ZSCHED_SOURCE_DIR "/docs/errors.md");
  ASSERT_TRUE(file.is_open());
  std::string page((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  size_t documented = 0;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);)
    documented += line.size() > 2 && line[0] == '|' && isdigit(line[2]);
  EXPECT_EQ(documented, std::size(kRows));
  for (const Row& row : kRows) {
    std::string line = "| " + std::to_string(row.number) + " | `" + std::string(row.text) + "` | " +
                       (row.retryable ? "yes" : "no") + " | " + std::to_string(row.exit_code) +
                       " | ";
    EXPECT_NE(page.find(line), std::string::npos) << "docs/errors.md has no row " << line;
  }
}

}  // namespace
}  // namespace zsched
