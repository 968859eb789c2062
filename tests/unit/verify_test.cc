// VerifyBody takes a body only when everything in it stands where it may be read. Which tables have
// vectors whose elements can be misaligned is read off wire.fbs itself, not off the generated types
// that the check goes by.
#include "schemas/verify.h"

#include <flatbuffers/idl.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "schemas/frame.h"
#include "tests/support/misaligned.h"

namespace zsched {
namespace {

using flatbuffers::FieldDef;
using flatbuffers::StructDef;
using flatbuffers::Table;

// --- What the schema says ---

std::unique_ptr<flatbuffers::Parser> ParseSchema() {
  flatbuffers::IDLOptions options;
  options.strict_json = true;
  auto parser = std::make_unique<flatbuffers::Parser>(options);
  std::ifstream in(ZSCHED_SOURCE_DIR "/schemas/wire.fbs");
  std::stringstream schema;
  schema << in.rdbuf();
  EXPECT_TRUE(parser->Parse(schema.str().c_str())) << parser->error_;
  return parser;
}

// Leads from a table to a vector: "StatusReply", then its fields "queues" and "counts".
struct Path {
  const StructDef* root = nullptr;
  std::vector<const FieldDef*> fields;

  const FieldDef& vector() const { return *fields.back(); }
  std::string name() const {
    std::string name = root->name;
    for (const FieldDef* field : fields) name += "." + field->name;
    return name;
  }
};

// To every vector whose elements need more than the multiple of 4 that follows a vector's size.
// `within`: the tables above it. One that comes again (a template of a TaskSpec) has no paths of its own
// there: the check of its first appearance says that it has none at all.
std::vector<Path> WideVectors(const StructDef& table, std::set<const StructDef*> within = {}) {
  std::vector<Path> paths;
  within.insert(&table);
  for (const FieldDef* field : table.fields.vec) {
    const flatbuffers::Type& type = field->value.type;
    const bool is_vector = flatbuffers::IsVector(type);
    const flatbuffers::Type inner = is_vector ? type.VectorType() : type;
    if (is_vector && flatbuffers::InlineAlignment(inner) > 4) paths.push_back({&table, {field}});
    if (!flatbuffers::IsTable(inner)) continue;
    if (within.contains(inner.struct_def)) continue;
    for (const Path& below : WideVectors(*inner.struct_def, within)) {
      paths.push_back({&table, {field}});
      auto& fields = paths.back().fields;
      fields.insert(fields.end(), below.fields.begin(), below.fields.end());
    }
  }
  return paths;
}

std::vector<Path> WideVectors(const flatbuffers::Parser& schema) {
  std::vector<Path> all;
  for (const StructDef* def : schema.structs_.vec) {
    if (def->fixed) continue;
    for (Path& path : WideVectors(*def)) all.push_back(std::move(path));
  }
  return all;
}

// --- Bodies ---

std::string JsonOfElement(const flatbuffers::Type& type) {
  if (!flatbuffers::IsStruct(type)) return "7";
  std::string json;
  for (const FieldDef* field : type.struct_def->fields.vec)
    json += (json.empty() ? "{\"" : ",\"") + field->name + "\":7";
  return json + "}";
}

// The other fields that the table must have: empty vectors, so far.
std::string JsonOfRequired(const StructDef& table, const FieldDef& but) {
  std::string json;
  for (const FieldDef* field : table.fields.vec)
    if (field->IsRequired() && field != &but && flatbuffers::IsVector(field->value.type))
      json += ",\"" + field->name + "\":[]";
  return json;
}

// A table with the vector at the path's end, from its field number `from` on. In a vector of tables
// it is the second that has it.
std::string JsonOf(const Path& path, int elements, size_t from = 0) {
  const FieldDef& field = *path.fields[from];
  const bool is_vector = flatbuffers::IsVector(field.value.type);
  std::string json;
  if (from + 1 < path.fields.size()) {
    json = JsonOf(path, elements, from + 1);
    if (is_vector) json = "[{}," + json + "]";
  } else {
    for (int i = 0; i < elements; ++i)
      json += (i > 0 ? "," : "") + JsonOfElement(field.value.type.VectorType());
    json = "[" + json + "]";
  }
  const FieldDef* above = from == 0 ? nullptr : path.fields[from - 1];
  const StructDef& table = above == nullptr ? *path.root
                           : flatbuffers::IsVector(above->value.type)
                               ? *above->value.type.VectorType().struct_def
                               : *above->value.type.struct_def;
  return "{\"" + field.name + "\":" + json + JsonOfRequired(table, field) + "}";
}

std::string BodyFromJson(flatbuffers::Parser& schema, const std::string& table,
                         const std::string& json) {
  EXPECT_TRUE(schema.SetRootType(("zsched.wire." + table).c_str()));
  EXPECT_TRUE(schema.ParseJson(json.c_str())) << json << ": " << schema.error_;
  return {reinterpret_cast<const char*>(schema.builder_.GetBufferPointer()),
          schema.builder_.GetSize()};
}

const Table& TableAtTheEnd(const std::string& body, const Path& path) {
  const auto* table = flatbuffers::GetRoot<Table>(body.data());
  for (size_t i = 0; i + 1 < path.fields.size(); ++i) {
    const FieldDef& field = *path.fields[i];
    if (flatbuffers::IsVector(field.value.type)) {
      using Tables = flatbuffers::Vector<flatbuffers::Offset<Table>>;
      table = table->GetPointer<const Tables*>(field.value.offset)->Get(1);
    } else {
      table = table->GetPointer<const Table*>(field.value.offset);
    }
  }
  return *table;
}

std::string Moved(const std::string& body, const Path& path, size_t remainder) {
  const size_t element_bytes = flatbuffers::InlineSize(path.vector().value.type.VectorType());
  return WithVectorAt(body, TableAtTheEnd(body, path), path.vector().value.offset, element_bytes,
                      remainder);
}

template <class T>
bool Verifies(std::string_view body) {
  AlignedCopy copy;
  return VerifyBody<T>(copy.Align(body)) != nullptr;
}

// Every table with such a vector, at any depth.
const std::map<std::string, bool (*)(std::string_view)> kTables = {
    {"Cancel", Verifies<wire::Cancel>},
    {"CancelTasks", Verifies<wire::CancelTasks>},
    {"Recall", Verifies<wire::Recall>},
    {"DeadDelete", Verifies<wire::DeadDelete>},
    {"DeadLetters", Verifies<wire::DeadLetters>},
    {"Get", Verifies<wire::Get>},
    {"Heartbeat", Verifies<wire::Heartbeat>},
    {"Outcomes", Verifies<wire::Outcomes>},
    {"Histogram", Verifies<wire::Histogram>},
    {"QueueStatus", Verifies<wire::QueueStatus>},
    {"Release", Verifies<wire::Release>},
    {"ResultAck", Verifies<wire::ResultAck>},
    {"Results", Verifies<wire::Results>},
    {"Retry", Verifies<wire::Retry>},
    {"StatusReply", Verifies<wire::StatusReply>},
    {"TaskInfos", Verifies<wire::TaskInfos>},
    {"Wait", Verifies<wire::Wait>},
    {"WorkerHello", Verifies<wire::WorkerHello>},
    {"QueueInfo", Verifies<wire::QueueInfo>},
    {"QueueInfos", Verifies<wire::QueueInfos>},
    {"WorkerWelcome", Verifies<wire::WorkerWelcome>},
};

TEST(VerifyBody, TablesWithVectorsOfEightByteElementsAreAllTestedHere) {
  const auto schema = ParseSchema();
  std::set<std::string> in_schema, tested;
  for (const Path& path : WideVectors(*schema)) in_schema.insert(path.root->name);
  for (const auto& [table, verifies] : kTables) tested.insert(table);
  EXPECT_EQ(in_schema, tested)
      << "a table of wire.fbs is missing in kTables, or one there has none";
}

TEST(VerifyBody, ElementsOfEightBytesStandAtAMultipleOfEight) {
  const auto schema = ParseSchema();
  for (const Path& path : WideVectors(*schema)) {
    for (int elements : {0, 1, 3}) {
      SCOPED_TRACE(path.name() + " of " + std::to_string(elements));
      const auto verifies = kTables.at(path.root->name);
      const std::string body = BodyFromJson(*schema, path.root->name, JsonOf(path, elements));
      EXPECT_TRUE(verifies(body));
      EXPECT_TRUE(verifies(Moved(body, path, /*remainder=*/0)));
      // There is nothing to be read of an empty one, and builders do not align it.
      EXPECT_EQ(verifies(Moved(body, path, /*remainder=*/4)), elements == 0);
    }
  }
}

// FlatBuffers looks at these by itself; that it does is relied upon.
TEST(VerifyBody, ScalarsAndStructsOfEightBytesStandAtAMultipleOfEight) {
  struct Field {
    std::string table, json;
    flatbuffers::voffset_t field;
    bool (*verifies)(std::string_view);
  };
  const std::string behind = R"("a text that is longer than what is moved")";
  const std::vector<Field> fields = {
      {"Error", R"({"request":7,"message":)" + behind + "}", wire::Error::VT_REQUEST,
       Verifies<wire::Error>},
      {"TaskInfo", R"({"run_at_ms":7,"worker":)" + behind + "}", wire::TaskInfo::VT_RUN_AT_MS,
       Verifies<wire::TaskInfo>},
      {"Hello", R"({"id":{"hi":7,"lo":7},"name":)" + behind + "}", wire::Hello::VT_ID,
       Verifies<wire::Hello>},
  };
  const auto schema = ParseSchema();
  for (const Field& field : fields) {
    SCOPED_TRACE(field.json);
    const std::string body = BodyFromJson(*schema, field.table, field.json);
    auto moved_by = [&](int bytes) {
      std::string moved = body;
      const auto* vtable = flatbuffers::GetRoot<Table>(body.data())->GetVTable();
      auto* place =
          moved.data() + (reinterpret_cast<const char*>(vtable) - body.data()) + field.field;
      const int offset = flatbuffers::ReadScalar<flatbuffers::voffset_t>(place) + bytes;
      flatbuffers::WriteScalar(place, static_cast<flatbuffers::voffset_t>(offset));
      return moved;
    };
    EXPECT_TRUE(field.verifies(body));
    EXPECT_TRUE(field.verifies(moved_by(8)));
    EXPECT_FALSE(field.verifies(moved_by(4)));
  }
}

}  // namespace
}  // namespace zsched
