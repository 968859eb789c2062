// tests/vectors: C++ reads every frame to the meaning beside it, and refuses the malformed ones with their code.
// UPDATE_VECTORS=1 rewrites the bytes from the meaning.
#include <flatbuffers/idl.h>
#include <gtest/gtest.h>
#include <zlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "schemas/frame.h"
#include "schemas/verify.h"

namespace zsched {
namespace {

using Json = nlohmann::ordered_json;

// One row a message: name, type, table, may the body be empty (kMust: it has to be).
enum class Empty { kNever, kMay, kMust };
#define ZSCHED_MESSAGES(X)                                      \
  X("DISCOVER", kDiscover, Discover, kMay)                      \
  X("VIEW", kView, View, kNever)                                \
  X("HELLO", kHello, Hello, kNever)                             \
  X("WELCOME", kWelcome, Welcome, kNever)                       \
  X("HEARTBEAT", kHeartbeat, Heartbeat, kMay)                   \
  X("HEARTBEAT_ACK", kHeartbeatAck, HeartbeatAck, kNever)       \
  X("ERROR", kError, Error, kNever)                             \
  X("GOODBYE", kGoodbye, Drain, kMust)                          \
  X("SUBMIT", kSubmit, Submit, kNever)                          \
  X("SUBMIT_ACK", kSubmitAck, SubmitAck, kNever)                \
  X("WAIT", kWait, Wait, kNever)                                \
  X("OUTCOMES", kOutcomes, Outcomes, kNever)                    \
  X("GET", kGet, Get, kNever)                                   \
  X("LIST", kList, List, kNever)                                \
  X("TASK_INFOS", kTaskInfos, TaskInfos, kNever)                \
  X("RETRY", kRetry, Retry, kNever)                             \
  X("ITEM_REPLY", kItemReply, ItemReply, kNever)                \
  X("STATUS", kStatus, Status, kNever)                          \
  X("STATUS_REPLY", kStatusReply, StatusReply, kNever)          \
  X("WORKER_LIST", kWorkerList, WorkerList, kNever)             \
  X("WORKER_INFOS", kWorkerInfos, WorkerInfos, kNever)          \
  X("WORKER_DRAIN", kWorkerDrain, WorkerDrain, kNever)          \
  X("CANCEL_TASKS", kCancelTasks, CancelTasks, kNever)          \
  X("DEAD_LIST", kDeadList, DeadList, kNever)                   \
  X("DEAD_LETTERS", kDeadLetters, DeadLetters, kNever)          \
  X("DEAD_DELETE", kDeadDelete, DeadDelete, kNever)             \
  X("QUEUE_SET", kQueueSet, QueueSet, kNever)                   \
  X("QUEUE_LIST", kQueueList, QueueList, kNever)                \
  X("QUEUE_INFOS", kQueueInfos, QueueInfos, kNever)             \
  X("TYPE_SET", kTypeSet, TypeSet, kNever)                      \
  X("TYPE_LIST", kTypeList, TypeList, kNever)                   \
  X("TYPE_INFOS", kTypeInfos, TypeInfos, kNever)                \
  X("SCHEDULE_SET", kScheduleSet, ScheduleSet, kNever)          \
  X("SCHEDULE_PAUSE", kSchedulePause, SchedulePause, kNever)    \
  X("SCHEDULE_RUN", kScheduleRun, ScheduleRun, kNever)          \
  X("SCHEDULE_REMOVE", kScheduleRemove, ScheduleRemove, kNever) \
  X("SCHEDULE_LIST", kScheduleList, ScheduleList, kNever)       \
  X("SCHEDULE_INFOS", kScheduleInfos, ScheduleInfos, kNever)    \
  X("EXPLAIN", kExplain, Explain, kNever)                       \
  X("EXPLANATION", kExplanation, Explanation, kNever)           \
  X("HISTORY", kHistory, History, kNever)                       \
  X("HISTORY_INFO", kHistoryInfo, HistoryInfo, kNever)          \
  X("LOGS", kLogs, Logs, kNever)                                \
  X("LOG_PAGES", kLogPages, LogPages, kNever)                   \
  X("EVENTS", kEvents, Events, kNever)                          \
  X("EVENT_PAGE", kEventPage, EventPage, kNever)                \
  X("CLUSTER_COMMAND", kClusterCommand, ClusterCommand, kNever) \
  X("WORKER_HELLO", kWorkerHello, WorkerHello, kNever)          \
  X("WORKER_WELCOME", kWorkerWelcome, WorkerWelcome, kNever)    \
  X("CREDIT", kCredit, Credit, kNever)                          \
  X("TASKS", kTasks, Tasks, kNever)                             \
  X("RESULTS", kResults, Results, kNever)                       \
  X("RESULT_ACK", kResultAck, ResultAck, kNever)                \
  X("RELEASE", kRelease, Release, kNever)                       \
  X("PROGRESS", kProgress, Progress, kNever)                    \
  X("OUTPUT", kOutput, Output, kNever)                          \
  X("DRAIN", kDrain, Drain, kMay)                               \
  X("CANCEL", kCancel, Cancel, kNever)                          \
  X("RECALL", kRecall, Recall, kNever)

struct Message {
  std::string name;
  MessageType type;
  std::string table;
  Empty empty;
  bool (*verify)(std::string_view body);
};

const std::vector<Message>& Messages() {
  static const std::vector<Message> kMessages = {
#define ZSCHED_MESSAGE(name, type, table, empty)  \
  {name, MessageType::type, #table, Empty::empty, \
   [](std::string_view body) { return VerifyBody<wire::table>(body) != nullptr; }},
      ZSCHED_MESSAGES(ZSCHED_MESSAGE)
#undef ZSCHED_MESSAGE
  };
  return kMessages;
}

const Message* FindMessage(MessageType type) {
  for (const Message& message : Messages())
    if (message.type == type) return &message;
  return nullptr;
}
const Message* FindMessage(const std::string& name) {
  for (const Message& message : Messages())
    if (message.name == name) return &message;
  return nullptr;
}

// All that a receiver checks before a frame's fields have a meaning, in the protocol's order.
absl::StatusOr<FrameView> ReadFrame(std::string_view bytes) {
  absl::StatusOr<FrameView> frame = OpenFrame(bytes);
  if (!frame.ok()) return frame;
  const Message* message = FindMessage(frame->header.type);
  if (message == nullptr) return Error(ErrorCode::kUnknownMessage, "unknown type");
  if (frame->body.empty() && message->empty != Empty::kNever) return frame;
  if (message->empty == Empty::kMust || !message->verify(frame->body))
    return Error(ErrorCode::kMalformed, "bad body");
  return frame;
}

// --- Hex and files ---

constexpr const char* kGoodFiles[] = {"sessions", "client", "worker"};

std::string ToHex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (unsigned char byte : bytes) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string PathOf(const std::string& file) {
  return absl::StrCat(ZSCHED_SOURCE_DIR, "/tests/vectors/", file, ".json");
}

Json Load(const std::string& file) {
  std::ifstream in(PathOf(file));
  EXPECT_TRUE(in.good()) << PathOf(file);
  return Json::parse(in);
}

// One field a line.
void Save(const std::string& file, const Json& vectors) {
  std::ofstream out(PathOf(file));
  out << "[";
  for (size_t i = 0; i < vectors.size(); ++i) {
    out << (i == 0 ? "\n{" : ",\n{");
    bool first = true;
    for (const auto& [key, value] : vectors[i].items()) {
      out << (first ? "" : ",\n ") << Json(key).dump() << ": " << value.dump();
      first = false;
    }
    out << "}";
  }
  out << "\n]\n";
}

// --- Bodies as JSON ---

std::unique_ptr<flatbuffers::Parser> MakeParser(const std::string& table) {
  flatbuffers::IDLOptions options;
  options.strict_json = true;
  options.indent_step = -1;
  auto parser = std::make_unique<flatbuffers::Parser>(options);
  std::ifstream in(ZSCHED_SOURCE_DIR "/schemas/wire.fbs");
  std::stringstream schema;
  schema << in.rdbuf();
  EXPECT_TRUE(parser->Parse(schema.str().c_str())) << parser->error_;
  EXPECT_TRUE(parser->SetRootType(("zsched.wire." + table).c_str()));
  return parser;
}

std::string BodyFromJson(const std::string& table, const Json& body) {
  const auto parser = MakeParser(table);
  EXPECT_TRUE(parser->Parse(body.dump().c_str())) << parser->error_;
  return {reinterpret_cast<const char*>(parser->builder_.GetBufferPointer()),
          parser->builder_.GetSize()};
}

Json JsonFromBody(const std::string& table, std::string_view body) {
  const auto parser = MakeParser(table);
  std::string text;
  EXPECT_TRUE(flatbuffers::GenerateText(*parser, body.data(), &text));
  return Json::parse(text);
}

std::string FrameFromMeaning(const Json& vector) {
  std::string body;
  if (!vector["table"].is_null())
    body = BodyFromJson(vector["table"].get<std::string>(), vector["body"]);
  const Message* message = FindMessage(vector["type"].get<std::string>());
  return SealFrame({.type = message->type,
                    .flags = vector["checksum"] == "crc32" ? kFlagCrc32 : uint16_t{0},
                    .number = vector["number"].get<uint32_t>(),
                    .epoch = vector["epoch"].get<uint64_t>(),
                    .session = vector["session"].get<uint64_t>()},
                   body);
}

// --- Good frames ---

// As docs/protocol.md §2 says it, written a second time on purpose.
uint64_t ChecksumOf(const FrameHeader& header, std::string_view body) {
  if ((header.flags & kFlagCrc32) != 0) {
    uLong crc = crc32(0, reinterpret_cast<const Bytef*>(&header), 32);
    return crc32(crc, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  }
  return XXH3_64bits_withSeed(body.data(), body.size(), XXH3_64bits(&header, 32));
}

class VectorsTest : public ::testing::TestWithParam<const char*> {};

TEST_P(VectorsTest, EveryFrameHasItsMeaning) {
  const Json vectors = Load(GetParam());
  ASSERT_FALSE(vectors.empty());
  for (const Json& vector : vectors) {
    SCOPED_TRACE(vector["name"].get<std::string>());
    const Message* message = FindMessage(vector["type"].get<std::string>());
    ASSERT_NE(message, nullptr);
    const std::string bytes = FromHex(vector.at("hex"));
    absl::StatusOr<FrameView> frame = ReadFrame(bytes);
    ASSERT_TRUE(frame.ok()) << frame.status();
    EXPECT_EQ(frame->header.type, message->type);
    EXPECT_EQ((frame->header.flags & kFlagCrc32) != 0, vector["checksum"] == "crc32");
    EXPECT_EQ(frame->header.epoch, vector["epoch"].get<uint64_t>());
    EXPECT_EQ(frame->header.session, vector["session"].get<uint64_t>());
    EXPECT_EQ(frame->header.number, vector["number"].get<uint32_t>());
    EXPECT_EQ(frame->header.number == 0, frame->header.session == 0);
    EXPECT_EQ(frame->header.checksum, ChecksumOf(frame->header, frame->body));
    EXPECT_EQ(frame->body.empty(), vector["table"].is_null());
    if (frame->body.empty()) continue;
    EXPECT_EQ(vector["table"], message->table);
    // Compared without the order of fields, which is the schema's in one and a person's in the other.
    EXPECT_EQ(nlohmann::json(JsonFromBody(message->table, frame->body)),
              nlohmann::json(vector["body"]));
  }
}

INSTANTIATE_TEST_SUITE_P(Files, VectorsTest, ::testing::ValuesIn(kGoodFiles));

TEST(VectorsTest, EveryMessageIsThereAndBothChecksums) {
  std::set<std::string> types, checksums;
  for (const char* file : kGoodFiles)
    for (const Json& vector : Load(file)) {
      types.insert(vector["type"].get<std::string>());
      checksums.insert(vector["checksum"].get<std::string>());
    }
  EXPECT_EQ(types.size(), Messages().size());
  EXPECT_EQ(checksums, (std::set<std::string>{"crc32", "xxh3"}));
}

TEST(VectorsTest, NamesAreUnique) {
  std::set<std::string> names;
  for (const char* file : {"sessions", "client", "worker", "malformed"})
    for (const Json& vector : Load(file))
      EXPECT_TRUE(names.insert(vector["name"].get<std::string>()).second) << vector["name"];
}

// What generated accessors see, not only what the schema's own parser sees.
TEST(VectorsTest, AccessorsReadASubmit) {
  for (const Json& vector : Load("client")) {
    if (vector["name"] != "submit_all_fields") continue;
    const std::string bytes = FromHex(vector["hex"]);
    absl::StatusOr<FrameView> frame = ReadFrame(bytes);
    ASSERT_TRUE(frame.ok());
    const auto* submit = VerifyBody<wire::Submit>(frame->body);
    ASSERT_NE(submit, nullptr);
    EXPECT_EQ(submit->seq(), 7u);
    EXPECT_EQ(submit->acked_below(), 5u);
    EXPECT_TRUE(submit->notify());
    ASSERT_EQ(submit->tasks()->size(), 2u);
    const wire::TaskSpec& task = *submit->tasks()->Get(0);
    EXPECT_EQ(TextOf(task.type()), "mail");
    EXPECT_EQ(BytesOf(task.payload()), std::string_view("\0\x01\x02\xff", 4));
    EXPECT_EQ(task.durability(), wire::Durability::kDisk);
    EXPECT_EQ(TextOf(task.labels()->Get(0)->value()), "42");
    EXPECT_EQ(submit->tasks()->Get(1)->run_at_ms(), 1'795'248'000'000);
    EXPECT_EQ(submit->tasks()->Get(1)->queue(), nullptr);
    return;
  }
  FAIL() << "no such vector";
}

// --- Malformed frames ---

std::string Damaged(std::string bytes, const Json& damage) {
  if (damage.contains("body")) {
    FrameHeader header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    bytes = SealFrame(header, FromHex(damage["body"]));
  }
  if (damage.contains("patch"))
    for (const auto& [offset, hex] : damage["patch"].items()) {
      const std::string patch = FromHex(hex);
      bytes.replace(std::stoul(offset), patch.size(), patch);
    }
  if (damage.value("reseal", false)) {
    // The checksum of exactly these header bytes: SealFrame would put magic and version right.
    FrameHeader header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    header.checksum = ChecksumOf(header, std::string_view(bytes).substr(kFrameHeaderBytes));
    std::memcpy(bytes.data(), &header, sizeof(header));
  }
  auto at = [&](const Json& position) {
    const auto offset = position.get<int64_t>();
    return static_cast<size_t>(offset < 0 ? static_cast<int64_t>(bytes.size()) + offset : offset);
  };
  if (damage.contains("cut")) bytes.resize(at(damage["cut"]));
  if (damage.contains("append")) bytes += FromHex(damage["append"]);
  if (damage.contains("flip")) bytes[at(damage["flip"])] ^= 1;
  return bytes;
}

// Every good frame by its name.
std::map<std::string, std::string> GoodFrames() {
  std::map<std::string, std::string> frames;
  for (const char* file : kGoodFiles)
    for (const Json& vector : Load(file)) frames[vector["name"]] = FromHex(vector.at("hex"));
  return frames;
}

TEST(VectorsTest, MalformedFramesAreRefusedWithTheirCode) {
  const auto good = GoodFrames();
  for (const Json& vector : Load("malformed")) {
    SCOPED_TRACE(vector["name"].get<std::string>());
    const std::string bytes = FromHex(vector.at("hex"));
    EXPECT_EQ(bytes, Damaged(good.at(vector["base"]), vector["damage"]));
    absl::StatusOr<FrameView> frame = ReadFrame(bytes);
    EXPECT_FALSE(frame.ok());
    EXPECT_EQ(TextOf(CodeOf(frame.status())), vector["error"].get<std::string>()) << frame.status();
  }
}

// --- UPDATE_VECTORS=1 ---

class Updater : public ::testing::Environment {
 public:
  void SetUp() override {
    if (std::getenv("UPDATE_VECTORS") == nullptr) return;
    for (const char* file : kGoodFiles) {
      Json vectors = Load(file);
      for (Json& vector : vectors) vector["hex"] = ToHex(FrameFromMeaning(vector));
      Save(file, vectors);
    }
    const auto good = GoodFrames();
    Json vectors = Load("malformed");
    for (Json& vector : vectors)
      vector["hex"] = ToHex(Damaged(good.at(vector["base"]), vector["damage"]));
    Save("malformed", vectors);
  }
};
const auto* const kUpdater = ::testing::AddGlobalTestEnvironment(new Updater);

}  // namespace
}  // namespace zsched
