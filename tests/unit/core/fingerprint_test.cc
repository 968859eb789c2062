// What is a detail of an error, and what is the error.
#include "broker/core/fingerprint.h"

#include <gtest/gtest.h>

namespace zsched::broker {
namespace {

uint64_t Of(std::string_view message) {
  return FingerprintOf("mail", ErrorCode::kHandlerFailed, message);
}

TEST(FingerprintTest, EachDetailBecomesTheSameMark) {
  const std::pair<std::string_view, std::string_view> kCases[] = {
      {"", ""},
      {"connection refused", "connection refused"},
      {"no such user 17", "no such user #"},
      {"took 250ms of 1s", "took # of #"},
      {"worker task17 is gone", "worker task# is gone"},
      {"sha256 differs", "sha# differs"},
      {"at 0x7ffe12ab", "at #"},
      {"object c0ffee12 is gone", "object # is gone"},
      {"object deadbeef is gone", "object deadbeef is gone"},  // a word, for all we know
      {"id 8c5f1c1e-abcd-4bcd-8def-abcdefabcdef!", "id #!"},
      {"id 8c5f1c1e-abcd-4bcd-8def-abcdefabcdefg", "id #-abcd-#-abcdefabcdefg"},
      {"no key 'mail-17', no key \"x\", no key `y z`", "no key #, no key #, no key #"},
      {"can't open, it isn't there", "can't open, it isn't there"},
      {"unbalanced 'quote", "unbalanced 'quote"},
      {"cannot read /srv/in/a.csv: denied", "cannot read #: denied"},
      {"cannot read /srv/in/a.csv.", "cannot read #."},
      {"cannot read (~/x) or ../y, ./z", "cannot read (#) or #, #"},
      {"cannot reach http://db:5432/x?y=1 now", "cannot reach # now"},
      {"cannot open C:\\data\\x.txt", "cannot open #"},
      {"read/write failed, 1 / 2", "read/write failed, # / #"},
      {"at 2026-11-21T08:00:00Z from 10.0.0.1:5570", "at # from #"},
      {"1.5 of 2", "# of #"},
      {"  two\n\tlines \n", "two lines"},
      {"größe 5 über 3", "größe # über #"},
      {"exit code 3", "exit code 3"},
      {"status=404, errno: 13", "status=404, errno: 13"},
      {"HTTP 503 after 7 tries", "HTTP 503 after # tries"},
      {"code 123456", "code #"},
      {"code of 3", "code of #"},
  };
  for (const auto& [message, expected] : kCases) EXPECT_EQ(WithoutDetails(message), expected);
}

TEST(FingerprintTest, NothingIsLeftToNormalise) {
  for (std::string_view message :
       {"at 2026-11-21T08:00:00Z from 10.0.0.1:5570", "no key 'a' in /b/c, 1.5 of task17"}) {
    const std::string once = WithoutDetails(message);
    EXPECT_EQ(WithoutDetails(once), once);
  }
}

TEST(FingerprintTest, ErrorsThatDifferInDetailsAreOne) {
  EXPECT_EQ(Of("no such file '/srv/17.csv' after 250ms"), Of("no such file 'x y' after 3s"));
  EXPECT_EQ(Of("user 17 is gone"), Of("user  4711 is gone "));
  EXPECT_NE(Of("user 17 is gone"), Of("user 17 is late"));
  EXPECT_NE(Of("exit code 3"), Of("exit code 4"));
}

TEST(FingerprintTest, TypeAndCodeCount) {
  EXPECT_NE(FingerprintOf("a", ErrorCode::kHandlerFailed, "x"),
            FingerprintOf("b", ErrorCode::kHandlerFailed, "x"));
  EXPECT_NE(FingerprintOf("a", ErrorCode::kHandlerFailed, "x"),
            FingerprintOf("a", ErrorCode::kWorkerLost, "x"));
  // Bytes do not move from one part to the other.
  EXPECT_NE(FingerprintOf("ab", ErrorCode::kHandlerFailed, "c"),
            FingerprintOf("a", ErrorCode::kHandlerFailed, "bc"));
}

// Rows on disk hold fingerprints, and operators note them: they must not change unnoticed.
TEST(FingerprintTest, StaysWhatItIs) {
  EXPECT_EQ(FingerprintOf("mail", ErrorCode::kHandlerFailed, "user 17 is gone"),
            6310760471282142302u);
  EXPECT_EQ(FingerprintOf("", ErrorCode::kOk, ""), 4696993233866070003u);
}

// Bytes of any kind: no crash, nothing longer than it was.
TEST(FingerprintTest, TakesAnyBytes) {
  uint64_t random = 1;
  for (int run = 0; run < 20'000; ++run) {
    std::string message;
    for (int i = 0; i < run % 40; ++i) {
      random = random * 6364136223846793005 + 1442695040888963407;
      constexpr std::string_view kBytes = "ab09-:./\\'\"` ~#_f\xC3\x80\n";
      message += kBytes[(random >> 33) % kBytes.size()];
    }
    EXPECT_LE(WithoutDetails(message).size(), message.size()) << message;
  }
}

}  // namespace
}  // namespace zsched::broker
