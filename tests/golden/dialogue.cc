#include "tests/golden/dialogue.h"

#include <cstdlib>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "client/lib/codec.h"
#include "client/lib/frame_builder.h"
#include "tests/support/misaligned.h"
#include "worker/core/frames.h"

namespace zsched::golden {
namespace {

using broker::Delivery;
using broker::Endpoint;

uint64_t Number(const std::string& text) { return std::strtoull(text.c_str(), nullptr, 10); }

// "4-1/4-2/1": task, lease, attempt (0 when it is not said).
wire::LeaseRef Lease(const std::string& text) {
  size_t slash = text.find('/'), second = text.find('/', slash + 1);
  auto task = ParseId<TaskId>(text.substr(0, slash));
  auto lease = ParseId<LeaseId>(
      text.substr(slash + 1, second == std::string::npos ? second : second - slash - 1));
  ZS_CHECK(slash != std::string::npos && task && lease);
  auto attempt = second == std::string::npos ? 0 : Number(text.substr(second + 1));
  return {task->value(), lease->value(), static_cast<uint32_t>(attempt)};
}

std::vector<wire::LeaseRef> LeasesFrom(const std::vector<std::string>& words, size_t first) {
  std::vector<wire::LeaseRef> leases;
  for (size_t i = first; i < words.size(); ++i) leases.push_back(Lease(words[i]));
  return leases;
}

std::string Misaligned(MessageType type, std::string_view body) {
  const auto& table = *flatbuffers::GetRoot<flatbuffers::Table>(body.data());
  auto with = [&](flatbuffers::voffset_t field, size_t element_bytes) {
    return WithVectorAt(body, table, field, element_bytes, /*remainder=*/4);
  };
  switch (type) {
    case MessageType::kWait:
      return with(wire::Wait::VT_IDS, sizeof(uint64_t));
    case MessageType::kResults:
      return with(wire::Results::VT_DONE, sizeof(wire::Done));
    case MessageType::kRelease:
      return with(wire::Release::VT_LEASES, sizeof(wire::LeaseRef));
    default:
      ZS_CHECK(false);
  }
}

}  // namespace

Dialogue::Dialogue() : disk_(broker::MakeMemoryDisk()) {}
Dialogue::~Dialogue() { Crash(); }

std::string Dialogue::Run(const std::string& line) {
  std::istringstream in(line);
  Words words;
  for (std::string word; in >> word;) words.push_back(word);
  out_.clear();
  const std::string& verb = words.at(0);
  if (verb == "boot") {
    Boot();
  } else if (verb == "commit") {
    Commit();
  } else if (verb == "crash") {
    Crash();
  } else if (verb == "tick") {
    int64_t ms = static_cast<int64_t>(Number(words.at(1)));
    now_ = {now_.wall_ms + ms, now_.mono_ms + ms};
    engine_->OnTick(now_);
    EndRound();
  } else if (verb == "queries") {
    queries_held_ = words.at(1) != "all";
    if (words[1] == "one") AnswerFirst();
    EndRound();
  } else if (verb == "reading") {
    peers_.at(words.at(1)).reading = words.at(2) == "yes";
  } else if (verb == "lost" || verb == "twice") {
    arrivals_ = verb == "lost" ? 0 : 2;
    RunPeer(Words(words.begin() + 1, words.end()));
    arrivals_ = 1;
  } else if (verb == "misaligned") {
    misaligned_ = true;
    RunPeer(Words(words.begin() + 1, words.end()));
    misaligned_ = false;
  } else {
    RunPeer(words);
  }
  return out_;
}

void Dialogue::RunPeer(const Words& words) {
  const std::string& kind = words.at(0);
  ZS_CHECK(kind == "client" || kind == "worker");
  const std::string& name = words.at(1);
  auto [it, is_new] = peers_.try_emplace(name);
  Peer& peer = it->second;
  if (is_new) {
    peer.endpoint = kind == "client" ? Endpoint::kClient : Endpoint::kWorker;
    peer.id = Uuid{1, peers_.size()};
  }
  kind == "client" ? RunClient(peer, name, words) : RunWorker(peer, name, words);
}

// --- The broker -----------------------------------------------------------------------------------

void Dialogue::Boot() {
  broker::EngineConfig config;
  config.address = ":5570";
  config.worker_address = ":5571";
  journal_ = broker::OpenMemoryJournal(disk_);
  engine_ =
      std::make_unique<broker::Engine>(config, *journal_, static_cast<broker::Outbox&>(*this));
  ZS_CHECK_OK(engine_->Start(Uuid{7, 7}, now_));
  EndRound();
}

void Dialogue::Commit() {
  broker::Batch& batch = batches_[at_journal_ = 1 - at_journal_];
  if (engine_->TakeBatch(batch)) {
    ZS_CHECK_OK(journal_->Commit(batch));
    engine_->OnCommitted(batch, 0, now_);
    ZS_CHECK_OK(engine_->ReleaseCommitted());
  }
  EndRound();
}

void Dialogue::Crash() {
  queries_.clear();
  engine_.reset();
  journal_.reset();
}

void Dialogue::EndRound() {
  ZS_CHECK_OK(engine_->EndRound(now_));
  for (broker::Query& query : engine_->TakeQueries()) queries_.push_back(std::move(query));
  if (!queries_held_ && !queries_.empty()) {
    AnswerFirst();
    return EndRound();
  }
  ZS_CHECK_OK(engine_->core().CheckInvariants());
}

void Dialogue::AnswerFirst() {
  auto view = journal_->View();
  ZS_CHECK_OK(engine_->OnReply(runner_.Run(**view, queries_.front()), now_));
  queries_.pop_front();
}

Delivery Dialogue::Send(Endpoint, std::string_view routing_id, const FrameHeader& header,
                        std::string_view body) {
  std::string name(routing_id);
  Peer& peer = peers_.at(name);
  AlignedCopy aligned;
  std::string words = Describe(header, aligned.Align(body));
  if (!peer.reading) {
    absl::StrAppend(&out_, "   ", name, " does not read: ", words, "\n");
    return Delivery::kFull;
  }
  if (header.type == MessageType::kWelcome || header.type == MessageType::kWorkerWelcome) {
    peer.session = header.session;
    peer.sent = 0;
  }
  absl::StrAppend(&out_, "-> ", name, " ", words, "\n");
  return Delivery::kSent;
}

// --- Its peers --------------------------------------------------------------------------------------

void Dialogue::Deliver(const std::string& name, MessageType type, std::string_view body) {
  Peer& peer = peers_.at(name);
  FrameHeader header;
  header.type = type;
  header.session = peer.session;
  header.number = IsGreeting(type) ? 0 : ++peer.sent;
  std::string frame = SealFrame(header, misaligned_ ? Misaligned(type, body) : std::string(body));
  AlignedCopy aligned;
  for (int i = 0; i < arrivals_; ++i) {
    engine_->OnFrame(peer.endpoint, name, aligned.Align(frame), now_);
    EndRound();
  }
}

void Dialogue::RunClient(Peer& peer, const std::string& name, const Words& words) {
  const std::string& verb = words.at(2);
  if (verb == "hello") return Deliver(name, MessageType::kHello, EncodeHello(peer.id, name, "1"));
  if (verb == "submit") return Submit(name, words);
  if (verb == "heartbeat") return Deliver(name, MessageType::kHeartbeat, "");
  if (verb == "goodbye") return Deliver(name, MessageType::kGoodbye, "");
  std::vector<TaskId> ids;
  for (size_t i = 3; i < words.size(); ++i) ids.push_back(*ParseId<TaskId>(words[i]));
  if (verb == "retry") return Deliver(name, MessageType::kRetry, EncodeRetry(/*request=*/200, ids));
  if (verb == "cancel")
    return Deliver(name, MessageType::kCancelTasks, EncodeCancel(/*request=*/300, ids));
  ZS_CHECK(verb == "wait");
  Deliver(name, MessageType::kWait, EncodeWait(/*request=*/100, ids));
}

void Dialogue::Submit(const std::string& name, const Words& words) {
  TaskSpec task;
  task.type = "work";
  uint64_t acked_below = 1;
  bool notify = false;
  for (size_t i = 5; i < words.size(); ++i) {
    if (words[i] == "memory") task.durability = Durability::kMemory;
    if (words[i] == "notify") notify = true;
    if (words[i].starts_with("bytes=")) task.payload.assign(Number(words[i].substr(6)), 'x');
    if (words[i].starts_with("acked=")) acked_below = Number(words[i].substr(6)) + 1;
  }
  std::string record;
  AppendRecord(task, &record);
  FrameBuilder builder;
  for (uint64_t i = 0; i < Number(words.at(4)); ++i) builder.Add(ReadRecord(record));
  Deliver(name, MessageType::kSubmit, builder.Finish(Number(words.at(3)), acked_below, notify));
}

void Dialogue::RunWorker(Peer& peer, const std::string& name, const Words& words) {
  const std::string& verb = words.at(2);
  if (verb == "hello") {
    worker::Identity identity;
    identity.id = peer.id;
    identity.name = name;
    return Deliver(name, MessageType::kWorkerHello,
                   EncodeHello(identity, false, LeasesFrom(words, 3), /*number=*/0, &builder_));
  }
  if (verb == "credit") {
    worker::Grant grant{static_cast<uint32_t>(Number(words.at(3))), kMaxCreditBytes};
    if (words.size() > 4) grant.bytes = Number(words[4]);
    return Deliver(name, MessageType::kCredit, EncodeCredit(grant, &builder_));
  }
  if (verb == "release")
    return Deliver(name, MessageType::kRelease,
                   worker::EncodeRelease(LeasesFrom(words, 3), &builder_));
  if (verb == "heartbeat")
    return Deliver(name, MessageType::kHeartbeat,
                   EncodeHeartbeat(worker::HeartbeatInfo{}, &builder_));
  if (verb == "goodbye") return Deliver(name, MessageType::kGoodbye, "");
  ZS_CHECK(verb == "done" || verb == "fail" || verb == "giveup");
  Results(name, words);
}

void Dialogue::Results(const std::string& name, const Words& words) {
  worker::ResultsFrame frame;
  frame.seq = Number(words.at(3));
  for (const wire::LeaseRef& ref : LeasesFrom(words, 4)) {
    if (words[2] == "done") {
      frame.done.emplace_back(ref.task_id(), ref.lease_id(), /*run_us=*/1000);
      continue;
    }
    worker::Outcome outcome;
    outcome.message = "it did not work";
    if (words[2] == "giveup") outcome.advice = wire::RetryAdvice::kNever;
    frame.results.push_back({TaskId(ref.task_id()), LeaseId(ref.lease_id()), 1000, outcome});
  }
  Deliver(name, MessageType::kResults, EncodeResults(frame, &builder_));
}

}  // namespace zsched::golden
