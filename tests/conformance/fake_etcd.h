// A server that speaks as much of etcd's JSON gateway as a register needs, and misbehaves when it is
// told to. Owned by tests/conformance.
//
// It passes the same suite as etcd itself, so it may stand for it where etcd cannot be made to do what
// networks and machines do: lose an answer, be late, talk nonsense.
//
// Example:
//   FakeEtcd etcd;
//   etcd.NextTxn(FakeEtcd::Mood::kApplyAndDrop);   // what becomes of the next transaction
//   store->Swap(expected, wanted);
//   EXPECT_EQ(etcd.transactions(), 2);
//
// Threads: the methods from any; it has threads of its own, one a connection.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "broker/replication/etcd_messages.h"

namespace zsched::broker {

// Keys and values, as a cluster of etcd has them.
class FakeKeys {
 public:
  // The answers' JSON. A body that is none of the requests that a register makes: "".
  std::string Range(const std::string& body);
  std::string Txn(const std::string& body);
  void Put(const std::string& key, const std::string& bytes);
  EtcdValue Get(const std::string& key);

 private:
  std::mutex mutex_;
  std::map<std::string, EtcdValue> keys_;  // by the base64 of their names
  int64_t revision_ = 1;
};

class FakeEtcd {
 public:
  enum class Mood {
    kAnswer,
    kDrop,             // the request is lost, and the connection
    kApplyAndDrop,     // the answer is
    kGarbage,          // bytes that are not HTTP, and nothing is done
    kApplyAndGarbage,  // HTTP, and a body that is not JSON
    kApplyAndCut,      // half of the answer
    kApplyAndUnsure,   // HTTP status 503, as when the leader changes
    kApplyAndHuge,     // a body without end
    kHuge,
    kLongLine,     // a status line of a megabyte
    kManyHeaders,  // headers without end
    kOtherServer,  // 200, and JSON of somebody else
    kNotFound,     // 404, as from a server without the gateway
    kHold,         // as kAnswer, but not before Release()
    kDrip,         // a byte now and then, for ever
    kRefuseToken,  // 401
    kDeny,         // 403
    kNoSpace,      // as when the quota is used up
  };

  // "ApplyAndDrop"
  static std::string NameOf(Mood mood);

  // Listens on a free port of 127.0.0.1. Several may share their keys, as members of a cluster do.
  explicit FakeEtcd(std::shared_ptr<FakeKeys> keys = std::make_shared<FakeKeys>());
  FakeEtcd(const FakeEtcd&) = delete;
  FakeEtcd& operator=(const FakeEtcd&) = delete;
  ~FakeEtcd();

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  FakeKeys& keys() { return *keys_; }
  // Of the next request for a key that has no mood yet; then of the one after it, …
  void Next(Mood mood);
  // Of all of them.
  void Always(Mood mood);
  // The same of transactions only: a swap begins with a read.
  void NextTxn(Mood mood);
  void AlwaysTxn(Mood mood);
  // Held requests are done, and all that come from now on are not held. Returns when each is done.
  void Release();
  // Waits until as many requests are held.
  void AwaitHeld(int requests);

  // Requests that came, whatever became of them.
  int transactions() const { return Count(kEtcdTxnPath); }
  int ranges() const { return Count(kEtcdRangePath); }
  int authentications() const { return Count(kEtcdAuthenticatePath); }
  // What the transactions that came would have put there.
  std::vector<std::string> puts() const;
  // What the last one for a key had as its Authorization.
  std::string last_token() const;

 private:
  struct Request;
  void Run();
  void Serve(int fd);
  // False: the connection ends.
  bool Answer(int fd, const Request& request);
  bool Misbehave(int fd, Mood mood, const std::string& answer);
  std::string Apply(const Request& request);
  Mood Take(const Request& request);
  void Hold();
  // Until the peer or this object has gone.
  void Repeat(int fd, const std::string& first, const std::string& more, int pause_ms);
  int Count(const std::string& path) const;

  const std::shared_ptr<FakeKeys> keys_;
  int listener_ = -1;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Mood> moods_, txn_moods_;
  Mood always_ = Mood::kAnswer, txn_always_ = Mood::kAnswer;
  bool stopped_ = false, released_ = false;
  int held_ = 0, passed_ = 0;  // requests that were held, and that are done since
  std::map<std::string, int> counts_;
  std::vector<std::string> puts_;
  std::string token_;
  std::vector<int> sockets_;
  std::vector<std::thread> threads_;  // the connections'
  std::thread thread_;
};

// As googletest prints it.
inline void PrintTo(FakeEtcd::Mood mood, std::ostream* out) { *out << FakeEtcd::NameOf(mood); }

}  // namespace zsched::broker
