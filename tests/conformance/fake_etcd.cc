#include "tests/conformance/fake_etcd.h"

#include <absl/strings/escaping.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/check.h"

namespace zsched::broker {
namespace {

using nlohmann::json;

constexpr char kJson[] = "Content-Type: application/json\r\n";

std::string Base64(const std::string& bytes) { return absl::Base64Escape(bytes); }

std::string FromBase64(const std::string& text) {
  std::string bytes;
  ZS_CHECK(absl::Base64Unescape(text, &bytes));
  return bytes;
}

// What a transaction puts there when it succeeds.
std::string PutOf(const std::string& body) {
  const json request = json::parse(body);
  return FromBase64(request["success"][0]["request_put"]["value"]);
}

json Kvs(const std::string& name, const EtcdValue& value) {
  return json::array({{{"key", name},
                       {"create_revision", std::to_string(value.revision)},
                       {"mod_revision", std::to_string(value.revision)},
                       {"version", "1"},
                       {"value", Base64(value.bytes)}}});
}

json Header(int64_t revision) {
  return {{"cluster_id", "7801232528081817440"}, {"revision", std::to_string(revision)}};
}

std::string Http(const std::string& status, const std::string& body) {
  return "HTTP/1.1 " + status + "\r\n" + kJson + "Content-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

// As the gateway says it: in chunks, with a trailer.
std::string HttpError(const std::string& status, int code, const std::string& text) {
  const std::string body = json{{"error", text}, {"message", text}, {"code", code}}.dump();
  char size[16];
  std::snprintf(size, sizeof size, "%zx\r\n", body.size());
  return "HTTP/1.1 " + status + "\r\n" + kJson +
         "Trailer: Grpc-Trailer-Content-Type\r\nTransfer-Encoding: chunked\r\n\r\n" + size + body +
         "\r\n0\r\nGrpc-Trailer-Content-Type: application/grpc\r\n\r\n";
}

bool SendAll(int fd, const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    ssize_t n = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

// The value of a header; its name in lower case.
std::string HeaderOf(const std::string& head, const std::string& name) {
  std::string lower = head;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const size_t at = lower.find("\r\n" + name + ": ");
  if (at == std::string::npos) return "";
  const size_t begin = at + name.size() + 4;
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

}  // namespace

std::string FakeKeys::Range(const std::string& body) {
  const json request = json::parse(body, nullptr, false);
  if (request.is_discarded()) return "";
  std::lock_guard lock(mutex_);
  json answer = {{"header", Header(revision_)}};
  const auto found = keys_.find(request["key"].get<std::string>());
  if (found != keys_.end()) {
    answer["kvs"] = Kvs(found->first, found->second);
    answer["count"] = "1";
  }
  return answer.dump();
}

std::string FakeKeys::Txn(const std::string& body) {
  const json request = json::parse(body, nullptr, false);
  if (request.is_discarded()) return "";
  const json& compare = request["compare"][0];
  ZS_CHECK(compare["target"] == "MOD" && compare["result"] == "EQUAL");
  const std::string name = compare["key"];
  std::lock_guard lock(mutex_);
  const auto found = keys_.find(name);
  const int64_t revision = found == keys_.end() ? 0 : found->second.revision;
  json answer;
  if (std::to_string(revision) == compare["mod_revision"]) {
    const json& put = request["success"][0]["request_put"];
    ZS_CHECK(put["key"] == name);
    keys_[name] = {++revision_, FromBase64(put["value"])};
    answer["succeeded"] = true;
    answer["responses"] = json::array({{{"response_put", {{"header", Header(revision_)}}}}});
  } else {
    ZS_CHECK(request["failure"][0]["request_range"]["key"] == name);
    json range = {{"header", Header(revision_)}};
    if (found != keys_.end()) range["kvs"] = Kvs(name, found->second);
    answer["responses"] = json::array({{{"response_range", range}}});
  }
  answer["header"] = Header(revision_);
  return answer.dump();
}

void FakeKeys::Put(const std::string& key, const std::string& bytes) {
  std::lock_guard lock(mutex_);
  keys_[Base64(key)] = {++revision_, bytes};
}

EtcdValue FakeKeys::Get(const std::string& key) {
  std::lock_guard lock(mutex_);
  const auto found = keys_.find(Base64(key));
  return found == keys_.end() ? EtcdValue{} : found->second;
}

std::string FakeEtcd::NameOf(Mood mood) {
  constexpr const char* kNames[] = {
      "Answer",      "Drop",           "ApplyAndDrop", "Garbage", "ApplyAndGarbage",
      "ApplyAndCut", "ApplyAndUnsure", "ApplyAndHuge", "Huge",    "LongLine",
      "ManyHeaders", "OtherServer",    "NotFound",     "Hold",    "Drip",
      "RefuseToken", "Deny",           "NoSpace"};
  return kNames[static_cast<size_t>(mood)];
}

struct FakeEtcd::Request {
  std::string path, token, body;
};

FakeEtcd::FakeEtcd(std::shared_ptr<FakeKeys> keys) : keys_(std::move(keys)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  ZS_CHECK(bind(listener_, generic, size) == 0 && listen(listener_, SOMAXCONN) == 0);
  ZS_CHECK(getsockname(listener_, generic, &size) == 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Run(); });
}

FakeEtcd::~FakeEtcd() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = released_ = true;
    for (int fd : sockets_) shutdown(fd, SHUT_RDWR);
  }
  changed_.notify_all();
  shutdown(listener_, SHUT_RDWR);
  thread_.join();
  for (std::thread& thread : threads_) thread.join();
  for (int fd : sockets_) close(fd);
  close(listener_);
}

void FakeEtcd::Run() {
  while (true) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    std::lock_guard lock(mutex_);
    sockets_.push_back(fd);
    if (stopped_) return;
    threads_.emplace_back([this, fd] { Serve(fd); });
  }
}

void FakeEtcd::Serve(int fd) {
  std::string bytes;
  char buffer[4096];
  for (ssize_t got; (got = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
    bytes.append(buffer, static_cast<size_t>(got));
    const size_t end = bytes.find("\r\n\r\n");
    if (end == std::string::npos) continue;
    const std::string head = bytes.substr(0, end + 2);
    const size_t length = std::stoul(HeaderOf(head, "content-length"));
    if (bytes.size() < end + 4 + length) continue;
    const size_t path = head.find(' ') + 1;
    const Request request{head.substr(path, head.find(' ', path) - path),
                          HeaderOf(head, "authorization"), bytes.substr(end + 4, length)};
    bytes.clear();
    if (!Answer(fd, request)) break;
  }
  shutdown(fd, SHUT_RDWR);
}

std::string FakeEtcd::Apply(const Request& request) {
  if (request.path == kEtcdRangePath) return keys_->Range(request.body);
  if (request.path == kEtcdTxnPath) return keys_->Txn(request.body);
  std::lock_guard lock(mutex_);
  return json{{"header", Header(1)},
              {"token", "token." + std::to_string(counts_[kEtcdAuthenticatePath])}}
      .dump();
}

FakeEtcd::Mood FakeEtcd::Take(const Request& request) {
  std::lock_guard lock(mutex_);
  ++counts_[request.path];
  changed_.notify_all();
  if (request.path == kEtcdAuthenticatePath) return Mood::kAnswer;
  token_ = request.token;
  if (request.path == kEtcdTxnPath) puts_.push_back(PutOf(request.body));
  const bool txn = request.path == kEtcdTxnPath;
  std::deque<Mood>& moods = txn && moods_.empty() ? txn_moods_ : moods_;
  if (moods.empty()) return txn ? txn_always_ : always_;
  const Mood mood = moods.front();
  moods.pop_front();
  return mood;
}

bool FakeEtcd::Answer(int fd, const Request& request) {
  const Mood mood = Take(request);
  switch (mood) {
    case Mood::kHold: {
      Hold();
      const std::string answer = Apply(request);
      {
        std::lock_guard lock(mutex_);
        ++passed_;
      }
      changed_.notify_all();
      return SendAll(fd, Http("200 OK", answer));
    }
    case Mood::kAnswer:
      return SendAll(fd, Http("200 OK", Apply(request)));
    case Mood::kApplyAndDrop:
    case Mood::kApplyAndGarbage:
    case Mood::kApplyAndCut:
    case Mood::kApplyAndUnsure:
    case Mood::kApplyAndHuge:
      return Misbehave(fd, mood, Apply(request));
    default:
      return Misbehave(fd, mood, "");
  }
}

bool FakeEtcd::Misbehave(int fd, Mood mood, const std::string& answer) {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const std::string pages(1 << 20, 'a');
  switch (mood) {
    case Mood::kGarbage:
      SendAll(fd, std::string("\0\xff\x16\x03\x01 no HTTP\r\n\r\n", 18));
      break;
    case Mood::kApplyAndGarbage:
      return SendAll(fd, Http("200 OK", "{\"header\":"));
    case Mood::kApplyAndCut: {
      const std::string whole = Http("200 OK", answer);
      SendAll(fd, whole.substr(0, whole.size() - answer.size() / 2));
      break;
    }
    case Mood::kApplyAndUnsure:
      return SendAll(fd, HttpError("503 Service Unavailable", 14, "etcdserver: leader changed"));
    case Mood::kApplyAndHuge:
    case Mood::kHuge:
      Repeat(fd, ok + "Content-Length: 99999999999\r\n\r\n{\"", pages, 0);
      break;
    case Mood::kLongLine:
      SendAll(fd, "HTTP/1.1 200 " + pages + "\r\nContent-Length: 0\r\n\r\n");
      break;
    case Mood::kManyHeaders:
      Repeat(fd, ok, "A: b\r\n", 0);
      break;
    case Mood::kOtherServer:
      return SendAll(fd, Http("200 OK", "{\"hello\":\"world\"}"));
    case Mood::kNotFound:
      return SendAll(fd, Http("404 Not Found", "Not Found\n"));
    case Mood::kDrip:
      Repeat(fd, ok + "A: ", "b", 5);
      break;
    case Mood::kRefuseToken:
      return SendAll(fd, HttpError("401 Unauthorized", 16, "etcdserver: invalid auth token"));
    case Mood::kDeny:
      return SendAll(fd, HttpError("403 Forbidden", 7, "etcdserver: permission denied"));
    case Mood::kNoSpace:
      return SendAll(fd, HttpError("429 Too Many", 8, "etcdserver: mvcc: database space exceeded"));
    default:
      break;
  }
  return false;
}

void FakeEtcd::Repeat(int fd, const std::string& first, const std::string& more, int pause_ms) {
  bool goes_on = SendAll(fd, first);
  while (goes_on) {
    goes_on = SendAll(fd, more);
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(pause_ms), [this] { return stopped_; });
    goes_on = goes_on && !stopped_;
  }
}

void FakeEtcd::Next(Mood mood) {
  std::lock_guard lock(mutex_);
  moods_.push_back(mood);
}

void FakeEtcd::Always(Mood mood) {
  std::lock_guard lock(mutex_);
  always_ = txn_always_ = mood;
}

void FakeEtcd::NextTxn(Mood mood) {
  std::lock_guard lock(mutex_);
  txn_moods_.push_back(mood);
}

void FakeEtcd::AlwaysTxn(Mood mood) {
  std::lock_guard lock(mutex_);
  txn_always_ = mood;
}

void FakeEtcd::Hold() {
  std::unique_lock lock(mutex_);
  ++held_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return released_; });
}

void FakeEtcd::AwaitHeld(int requests) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return held_ >= requests; });
}

void FakeEtcd::Release() {
  std::unique_lock lock(mutex_);
  released_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return passed_ == held_; });
}

int FakeEtcd::Count(const std::string& path) const {
  std::lock_guard lock(mutex_);
  const auto found = counts_.find(path);
  return found == counts_.end() ? 0 : found->second;
}

std::vector<std::string> FakeEtcd::puts() const {
  std::lock_guard lock(mutex_);
  return puts_;
}

std::string FakeEtcd::last_token() const {
  std::lock_guard lock(mutex_);
  return token_;
}

}  // namespace zsched::broker
