// What is said to etcd, byte by byte, and what is made of its answers and of anybody's.
#include "broker/replication/etcd_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

using testing::HasSubstr;
using testing::Not;

// As etcd 3.4 said it: the key "k", the value "v".
constexpr char kNothing[] = R"({"header":{"cluster_id":"7801","revision":"1","raft_term":"2"}})";
constexpr char kFound[] =
    R"({"header":{"revision":"9"},"kvs":[{"key":"aw==","create_revision":"2","mod_revision":"7",)"
    R"("version":"1","value":"dg=="}],"count":"1"})";
constexpr char kWon[] =
    R"({"header":{"revision":"8"},"succeeded":true,"responses":[{"response_put":{"header":{"revision":"8"}}}]})";
constexpr char kLost[] =
    R"({"header":{"revision":"9"},"responses":[{"response_range":{"header":{"revision":"9"},)"
    R"("kvs":[{"key":"aw==","mod_revision":"9","value":"dg=="}],"count":"1"}}]})";
constexpr char kLostToNothing[] =
    R"({"header":{"revision":"9"},"succeeded":false,"responses":[{"response_range":{"header":{}}}]})";
constexpr char kToken[] = R"({"header":{"revision":"2"},"token":"evOoLHNEfwfJKBhA.15"})";

TEST(EtcdMessages, AreWhatEtcdReads) {
  EXPECT_EQ(RangeRequest("k"), R"({"key":"aw=="})");
  EXPECT_EQ(
      TxnRequest("k", 7, "v"),
      R"({"compare":[{"key":"aw==","mod_revision":"7","result":"EQUAL","target":"MOD"}],)"
      R"("failure":[{"request_range":{"key":"aw=="}}],"success":[{"request_put":{"key":"aw==","value":"dg=="}}]})");
  EXPECT_EQ(AuthenticateRequest("u", "p\"\n"), R"({"name":"u","password":"p\"\n"})");
  EXPECT_THAT(AuthenticateRequest("u", "\xff"), HasSubstr("password"));
}

TEST(EtcdMessages, AnswersAreUnderstood) {
  EXPECT_EQ(ParseRange("k", kNothing)->revision, 0);
  EXPECT_EQ(ParseRange("k", kFound)->revision, 7);
  EXPECT_EQ(ParseRange("k", kFound)->bytes, "v");
  EXPECT_TRUE(ParseTxn("k", kWon)->succeeded);
  EXPECT_EQ(ParseTxn("k", kWon)->revision, 8);
  EXPECT_FALSE(ParseTxn("k", kLost)->succeeded);
  EXPECT_EQ(ParseTxn("k", kLost)->stands.revision, 9);
  EXPECT_EQ(ParseTxn("k", kLost)->stands.bytes, "v");
  EXPECT_FALSE(ParseTxn("k", kLostToNothing)->succeeded);
  EXPECT_EQ(ParseTxn("k", kLostToNothing)->stands.revision, 0);
  EXPECT_EQ(*ParseToken(kToken), "evOoLHNEfwfJKBhA.15");
  for (const char* answer : {kNothing, kFound, kWon, kLost, kToken})
    EXPECT_TRUE(IsEtcdAnswer(answer));
}

// In each case a register must not be taken for empty, nor a swap for won.
TEST(EtcdMessages, OtherAnswersAreRefused) {
  const std::string deep(10'000, '[');
  for (const std::string& answer :
       {std::string(), std::string("{}"), std::string("[]"), std::string("null"),
        std::string("true"), std::string("\"\""), std::string("{\"header\":1}"),
        std::string("<html>"), deep, "{\"header\":" + deep, std::string(R"({"kvs":[]})"),
        std::string(R"({"succeeded":true})"), std::string("\xff\xfe\0", 3)}) {
    EXPECT_FALSE(IsEtcdAnswer(answer)) << answer;
    EXPECT_EQ(CodeOf(ParseRange("k", answer).status()), ErrorCode::kMalformed) << answer;
    EXPECT_EQ(CodeOf(ParseTxn("k", answer).status()), ErrorCode::kMalformed) << answer;
    EXPECT_EQ(CodeOf(ParseToken(answer).status()), ErrorCode::kMalformed) << answer;
  }
}

std::string With(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(EtcdMessages, FieldsThatAreNotWhatTheyShouldBeAreRefused) {
  const auto revision = [](const std::string& value) {
    return With(kFound, R"("mod_revision":"7")", "\"mod_revision\":" + value);
  };
  for (const std::string& answer :
       {revision("7"), revision("\"\""), revision("\"0\""), revision("\"-7\""), revision("\" 7\""),
        revision("\"7x\""), revision("\"99999999999999999999\""), revision("null"), revision("[]"),
        With(kFound, "aw==", "eA=="), With(kFound, "\"aw==\"", "1"), With(kFound, "dg==", "d!=="),
        With(kFound, "\"dg==\"", "{}"), With(kFound, "[{", "[1,{"), With(kFound, "[{", "[[],{"),
        With(kFound, "\"kvs\":[", "\"kvs\":{\"x\":[") + "}"})
    EXPECT_EQ(CodeOf(ParseRange("k", answer).status()), ErrorCode::kMalformed) << answer;
  for (const std::string& answer :
       {With(kWon, "true", "1"), With(kWon, "true", "\"true\""), With(kWon, "true", "{}"),
        With(kWon, "true", "false"), With(kWon, R"({"revision":"8"})", "{}"),
        With(kLost, "response_range", "response_put"), With(kLost, "\"responses\":[", "\"more\":["),
        With(kLost, "\"responses\":[", "\"responses\":[1,")})
    EXPECT_EQ(CodeOf(ParseTxn("k", answer).status()), ErrorCode::kMalformed) << answer;
  for (const char* token : {"", "a b", "a\\nb", "a\\r\\nHost: x", "\\u00e4"})
    EXPECT_FALSE(ParseToken(With(kToken, "evOoLHNEfwfJKBhA.15", token)).ok()) << token;
}

// No bit of an answer changed, and no part of one, does more than make it another answer or none.
TEST(EtcdMessages, AnyBytesCanBeRead) {
  for (const std::string good : {kNothing, kFound, kWon, kLost, kToken}) {
    for (size_t at = 0; at < good.size(); ++at) {
      for (int bit = 0; bit < 8; ++bit) {
        std::string answer = good;
        answer[at] = static_cast<char>(answer[at] ^ (1 << bit));
        (void)ParseRange("k", answer);
        (void)ParseTxn("k", answer);
        (void)ParseToken(answer);
        (void)ParseEtcdError(answer);
      }
      const std::string part = good.substr(0, at);
      EXPECT_FALSE(ParseRange("k", part).ok());
      EXPECT_FALSE(ParseTxn("k", part).ok());
      EXPECT_FALSE(ParseToken(part).ok());
    }
  }
}

TEST(EtcdMessages, ErrorsCanBePrinted) {
  const EtcdError error = ParseEtcdError(
      R"({"error":"etcdserver: permission denied","message":"etcdserver: permission denied","code":7})");
  EXPECT_EQ(error.code, EtcdError::kPermissionDenied);
  EXPECT_EQ(error.message, "etcdserver: permission denied");
  for (const char* other : {"", "Not Found", "{}", "[]", R"({"error":1,"code":"7"})",
                            R"({"code":-7})", R"({"code":7e300})", R"({"code":4294967303})"}) {
    EXPECT_EQ(ParseEtcdError(other).code, EtcdError::kUnknown) << other;
    EXPECT_EQ(ParseEtcdError(other).message, "") << other;
  }
  const std::string ugly =
      ParseEtcdError(R"({"error":"a\nb\u0000c\u001b[31m)" + std::string(10'000, 'x') + "\"}")
          .message;
  EXPECT_LE(ugly.size(), kMaxEtcdMessageBytes);
  EXPECT_TRUE(IsValidName(ugly.substr(0, 20)));
}

}  // namespace
}  // namespace zsched::broker
