// Heads of HTTP requests: what is taken, and what is refused because two readers could see two things in it.
#include <gtest/gtest.h>

#include "client/gateway/head.h"

namespace zsched::gateway {
namespace {

Head Taken(std::string_view text) {
  auto read = ParseHead(text);
  const HeadError* error = std::get_if<HeadError>(&read);
  EXPECT_EQ(error, nullptr) << text << (error != nullptr ? error->what : "");
  return error != nullptr ? Head{} : std::get<Head>(read);
}

int StatusOf(const std::string& text) {
  auto read = ParseHead(text);
  const HeadError* error = std::get_if<HeadError>(&read);
  return error != nullptr ? error->status : 200;
}

TEST(Heads, AreTakenAsTheyAre) {
  const Head head = Taken(
      "POST /a%2Fb?c=d HTTP/1.1\r\nHost: x:80\r\nIdempotency-Key:  a%41 b \r\nAccept: a\r\naccept: "
      "b\r\n"
      "Content-Length: 15\r\nExpect: 100-continue\r\n");
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.target, "/a%2Fb?c=d");
  EXPECT_EQ(head.headers.at("idempotency-key"), "a%41 b");
  EXPECT_EQ(head.headers.at("accept"), "a, b");
  EXPECT_EQ(head.body_bytes, 15u);
  EXPECT_TRUE(head.keep_alive);
  EXPECT_TRUE(head.expects_continue);
  EXPECT_FALSE(head.http_1_0);
}

TEST(Heads, SayHowLongTheConnectionLasts) {
  EXPECT_TRUE(Taken("GET / HTTP/1.1\r\nHost: x\r\n").keep_alive);
  EXPECT_FALSE(Taken("GET / HTTP/1.1\r\nHost: x\r\nConnection: TE, Close\r\n").keep_alive);
  EXPECT_FALSE(Taken("GET / HTTP/1.0\r\n").keep_alive);
  EXPECT_TRUE(Taken("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n").keep_alive);
}

TEST(Heads, MayNameTheirServerInTheTarget) {
  EXPECT_EQ(Taken("GET http://x:80/y?z HTTP/1.1\r\nHost: x\r\n").target, "/y?z");
  EXPECT_EQ(StatusOf("GET http://x HTTP/1.1\r\nHost: x\r\n"), 400);
  EXPECT_EQ(StatusOf("OPTIONS * HTTP/1.1\r\nHost: x\r\n"), 400);
  EXPECT_EQ(StatusOf("CONNECT x:80 HTTP/1.1\r\nHost: x\r\n"), 400);
}

TEST(Heads, ThatCanBeReadInTwoWaysAreRefused) {
  const std::string start = "POST / HTTP/1.1\r\nHost: x\r\n";
  for (const char* header :
       {"Content-Length : 5\r\n", " Content-Length: 5\r\n", "Content-Length: 5\n",
        "Content-Length: 5\r\r\n", "Content-Length: +5\r\n", "Content-Length: -5\r\n",
        "Content-Length: 5, 5\r\n", "Content-Length: 0x5\r\n", "Content-Length: \r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n", "Host: y\r\n", "X\r\n", ": y\r\n",
        "X: a\r\n b\r\n", "X: a\001b\r\n", "X\t: a\r\n"})
    EXPECT_EQ(StatusOf(start + header), 400) << header;
  for (const char* header : {"Transfer-Encoding: chunked\r\n", "Transfer-Encoding: identity\r\n",
                             "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"})
    EXPECT_EQ(StatusOf(start + header), 411) << header;
  EXPECT_EQ(StatusOf(start + "Content-Encoding: gzip\r\n"), 415);
  EXPECT_EQ(Taken(start + "Content-Length: 99999999999999999999999\r\n").body_bytes, UINT64_MAX);
}

TEST(Heads, WithoutAProperFirstLineAreRefused) {
  for (const char* line : {"", "\r\n", "GET\r\n", "GET /\r\n", "GET / HTTP/1.1\n",
                           "GET /\tx HTTP/1.1\r\n", "G(T / HTTP/1.1\r\n", "GET x HTTP/1.1\r\n",
                           "GET  HTTP/1.1\r\n", "GET / http/1.1\r\n", "GET /a b HTTP/1.1\r\n"})
    EXPECT_EQ(StatusOf(std::string(line) + "Host: x\r\n"), 400) << line;
  EXPECT_EQ(StatusOf("GET / HTTP/2.0\r\nHost: x\r\n"), 505);
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nX: y\r\n"), 400);  // no Host
  EXPECT_EQ(StatusOf("GET /" + std::string(kMaxTargetBytes, 'a') + " HTTP/1.1\r\nHost: x\r\n"),
            414);
  std::string many = "GET / HTTP/1.1\r\nHost: x\r\n";
  for (size_t i = 0; i < kMaxHeaders; ++i) many += "X" + std::to_string(i) + ": y\r\n";
  EXPECT_EQ(StatusOf(many), 431);
}

}  // namespace
}  // namespace zsched::gateway
