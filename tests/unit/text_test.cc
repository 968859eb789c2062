// Durations, sizes, times, addresses, names and UTF-8 as people and peers write them.
#include "base/text.h"

#include <gtest/gtest.h>

#include <limits>

#include "schemas/errors.h"
#include "schemas/limits.h"

namespace zsched {
namespace {

TEST(Duration, ReadsWhatPeopleWrite) {
  const std::pair<const char*, int64_t> kCases[] = {{"250ms", 250},
                                                    {"5s", 5000},
                                                    {"2m", 120'000},
                                                    {"1h30m", 5'400'000},
                                                    {"0", 0},
                                                    {"0s", 0},
                                                    {"1.5s", 1500},
                                                    {"1h0m1s", 3'601'000},
                                                    {"876000h", 3'153'600'000'000}};
  for (auto [text, expected] : kCases) {
    auto ms = ParseDurationMs(text);
    ASSERT_TRUE(ms.ok()) << text;
    EXPECT_EQ(*ms, expected) << text;
  }
}

TEST(Duration, RefusesTheRest) {
  for (const char* text : {"", "5", "s", "-5s", "5 s", "5x", "inf", "5s ", " 5s", "1d", "5s5", "ms",
                           "99999999999999999h", "0.1ms", "10us"}) {
    auto ms = ParseDurationMs(text);
    ASSERT_FALSE(ms.ok()) << text;
    EXPECT_EQ(CodeOf(ms.status()), ErrorCode::kInvalidArgument);
    EXPECT_NE(MessageOf(ms.status()).find("'" + std::string(text) + "'"), std::string::npos);
  }
}

TEST(Duration, FormatIsReadBackAsItself) {
  for (int64_t ms : {0ll, 1ll, 250ll, 1500ll, 60'000ll, 5'400'000ll, 86'400'000ll, 1'234'567'891ll})
    EXPECT_EQ(*ParseDurationMs(FormatDurationMs(ms)), ms) << FormatDurationMs(ms);
}

TEST(Size, ReadsUnits) {
  EXPECT_EQ(*ParseSizeBytes("0"), 0);
  EXPECT_EQ(*ParseSizeBytes("1000"), 1000);
  EXPECT_EQ(*ParseSizeBytes("512KiB"), 512 << 10);
  EXPECT_EQ(*ParseSizeBytes("64MiB"), 64 << 20);
  EXPECT_EQ(*ParseSizeBytes("1GiB"), 1 << 30);
  EXPECT_EQ(*ParseSizeBytes("1TiB"), int64_t{1} << 40);
  EXPECT_EQ(*ParseSizeBytes("8388607TiB"), int64_t{8388607} << 40);
}

TEST(Size, RefusesTheRest) {
  for (const char* text : {"", "-1", "+1", "1.5GiB", "1 GiB", "1GB", "1gib", "GiB", "8388608TiB",
                           "99999999999999999999"})
    EXPECT_FALSE(ParseSizeBytes(text).ok()) << text;
}

TEST(Size, FormatIsReadBackAsItself) {
  EXPECT_EQ(FormatSizeBytes(64 << 20), "64MiB");
  EXPECT_EQ(FormatSizeBytes(1000), "1000");
  for (int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{1536}, int64_t{1} << 40,
                        std::numeric_limits<int64_t>::max()})
    EXPECT_EQ(*ParseSizeBytes(FormatSizeBytes(bytes)), bytes);
}

TEST(Time, ReadsRfc3339) {
  EXPECT_EQ(*ParseTimeMs("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(*ParseTimeMs("2026-11-21T08:00:00Z"), 1'795'248'000'000);
  EXPECT_EQ(*ParseTimeMs("2026-11-21T08:00:00.123Z"), 1'795'248'000'123);
  EXPECT_EQ(*ParseTimeMs("2026-11-21T10:00:00+02:00"), 1'795'248'000'000);
  EXPECT_EQ(*ParseTimeMs("1969-12-31T23:59:59Z"), -1000);
}

TEST(Time, RefusesTheRest) {
  for (const char* text : {"", "now", "2026-11-21", "2026-11-21T08:00:00", "2026-13-01T00:00:00Z",
                           "2026-02-30T00:00:00Z", "2026-11-21T25:00:00Z", "infinite-future",
                           "infinite-past", "1795248000"})
    EXPECT_FALSE(ParseTimeMs(text).ok()) << text;
}

TEST(Time, FormatsUtcWithMilliseconds) {
  EXPECT_EQ(FormatTimeMs(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(FormatTimeMs(1'795'248'000'007), "2026-11-21T08:00:00.007Z");
  EXPECT_EQ(*ParseTimeMs(FormatTimeMs(1'795'248'000'007)), 1'795'248'000'007);
}

TEST(Address, ReadsHostAndPort) {
  EXPECT_EQ(*ParseHostPort("127.0.0.1:5570"), (HostPort{"127.0.0.1", 5570}));
  EXPECT_EQ(*ParseHostPort("host.example:0"), (HostPort{"host.example", 0}));
  EXPECT_EQ(*ParseHostPort("[::1]:65535"), (HostPort{"::1", 65535}));
  EXPECT_EQ(*ParseHostPort(":5571", true), (HostPort{"", 5571}));
  EXPECT_EQ(ToString(HostPort{"::1", 7}), "[::1]:7");
  EXPECT_EQ(ToZmqEndpoint(HostPort{"a", 7}), "tcp://a:7");
}

TEST(Address, RefusesTheRest) {
  for (const char* text : {"", "host", "host:", ":5570", "host:65536", "host:-1", "host:1x",
                           "::1:5570", "host:+1", "host: 1", "[]:1"})
    EXPECT_FALSE(ParseHostPort(text).ok()) << text;
}

TEST(BrokerList, HasOneToEightDifferentAddresses) {
  EXPECT_EQ(ParseBrokerList("a:1,b:2,[::1]:3")->size(), 3u);
  std::string eight = "h:1";
  for (int port = 2; port <= 8; ++port) eight += ",h:" + std::to_string(port);
  EXPECT_EQ(ParseBrokerList(eight)->size(), kMaxBrokers);
  EXPECT_FALSE(ParseBrokerList(eight + ",h:9").ok());
  for (const char* text : {"", "a:1,", ",a:1", "a:1,a:1", "a:1;b:2"})
    EXPECT_FALSE(ParseBrokerList(text).ok()) << text;
}

TEST(Utf8, AcceptsTheFirstAndLastOfEachLength) {
  for (const char* text : {"", "a", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
                           "\xEE\x80\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_TRUE(IsUtf8(text)) << text;
  EXPECT_TRUE(IsUtf8(std::string_view("a\0b", 3)));
}

TEST(Utf8, RefusesOverlongFormsSurrogatesAndFragments) {
  for (const char* text :
       {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x41", "\xE0\x80\x80", "\xE0\x9F\xBF",
        "\xE1\x80", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF",
        "\xF1\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "a\xFE", "\xC2\x80\x80"})
    EXPECT_FALSE(IsUtf8(text)) << text;
}

TEST(Utf8, AgreesWithADecoderOnEveryCodePoint) {
  for (uint32_t code = 0; code <= 0x10FFFF; ++code) {
    char bytes[4];
    size_t size = 0;
    if (code < 0x80) {
      bytes[size++] = static_cast<char>(code);
    } else {
      int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
      const int kLead[] = {0, 0xC0, 0xE0, 0xF0};
      bytes[size++] = static_cast<char>(kLead[more] | code >> (6 * more));
      while (more-- > 0) bytes[size++] = static_cast<char>(0x80 | (code >> (6 * more) & 0x3F));
    }
    bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    ASSERT_EQ(IsUtf8({bytes, size}), !surrogate) << code;
  }
}

TEST(Name, IsShortPrintableUtf8) {
  EXPECT_TRUE(IsValidName("mail"));
  EXPECT_TRUE(IsValidName("größe 大"));
  EXPECT_TRUE(IsValidName(std::string(kMaxNameBytes, 'x')));
  EXPECT_FALSE(IsValidName(""));
  EXPECT_FALSE(IsValidName(std::string(kMaxNameBytes + 1, 'x')));
  EXPECT_FALSE(IsValidName("a\nb"));
  EXPECT_FALSE(IsValidName("a\x7F"));
  EXPECT_FALSE(IsValidName("a\xFF"));
  EXPECT_FALSE(IsValidName(std::string_view("\0", 1)));
}

}  // namespace
}  // namespace zsched
