#include "broker/replication/register.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/check.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kFields = 4;

absl::Status Malformed(const std::string& what) {
  return Error(ErrorCode::kMalformed, "this is not a register: " + what);
}

absl::Status Invalid(const std::string& what) {
  return Error(ErrorCode::kInvalidArgument, "a register's " + what);
}

std::optional<uint8_t> NodeOfName(const Json& name) {
  if (!name.is_string()) return std::nullopt;
  for (uint8_t node = 0; node < kNodes; ++node)
    if (name.get_ref<const std::string&>() == NodeName(node)) return node;
  return std::nullopt;
}

// The bits of a list of names without repeats.
std::optional<uint8_t> NodesOf(const Json& names) {
  if (!names.is_array()) return std::nullopt;
  uint8_t bits = 0;
  for (const Json& name : names) {
    std::optional<uint8_t> node = NodeOfName(name);
    if (!node || (bits & NodeBit(*node)) != 0) return std::nullopt;
    bits |= NodeBit(*node);
  }
  return bits;
}

// Discarded when the text is not JSON. `names`: of all objects in it, repeated ones too.
Json ParseJson(std::string_view text, size_t& names) {
  auto count = [&names](int, Json::parse_event_t event, Json&) {
    if (event == Json::parse_event_t::key) ++names;
    return true;
  };
  return Json::parse(text.begin(), text.end(), count, /*allow_exceptions=*/false);
}

absl::StatusOr<Register> FromJson(const Json& json) {
  for (const char* name : {"epoch", "active", "in_sync", "cluster"})
    if (!json.contains(name)) return Malformed(std::string("it has no ") + name);
  const Json& epoch = json["epoch"];
  if (!epoch.is_number_unsigned() || epoch.get<uint64_t>() == 0 ||
      epoch.get<uint64_t>() > kMaxEpoch)
    return Malformed("epoch is not a number from 1 to " + std::to_string(kMaxEpoch));
  std::optional<uint8_t> active = NodeOfName(json["active"]);
  if (!active) return Malformed("active is neither primary nor backup");
  std::optional<uint8_t> in_sync = NodesOf(json["in_sync"]);
  if (!in_sync) return Malformed("in_sync is not a list of primary and backup");
  const Json& cluster = json["cluster"];
  std::optional<Uuid> id;
  if (cluster.is_string()) id = ParseUuid(cluster.get_ref<const std::string&>());
  if (!id) return Malformed("cluster is not an id of 32 hex digits");
  return Register{Epoch(epoch.get<uint64_t>()), *active, *in_sync, *id};
}

}  // namespace

std::string_view NodeName(uint8_t node) {
  ZS_CHECK(node < kNodes);
  return node == kPrimary ? "primary" : "backup";
}

absl::Status CheckRegister(const Register& value) {
  if (value == Register{}) return absl::OkStatus();
  if (value.epoch.value() == 0 || value.epoch.value() > kMaxEpoch)
    return Invalid("epoch is not within 1 and " + std::to_string(kMaxEpoch));
  if (value.active >= kNodes) return Invalid("active node does not exist");
  if (NodeOf(value.epoch) != value.active) return Invalid("epoch is not one of its active node");
  if ((value.in_sync & ~kAllNodes) != 0)
    return Invalid("in-sync set has a node that does not exist");
  if (!value.IsMember(value.active)) return Invalid("in-sync set lacks its active node");
  if (!value.cluster) return Invalid("cluster id is missing");
  return absl::OkStatus();
}

std::string ToText(const Register& value) {
  Json json = Json::object();
  if (!value.empty()) {
    json["epoch"] = value.epoch.value();
    json["active"] = NodeName(value.active);
    json["in_sync"] = Json::array();
    for (uint8_t node = 0; node < kNodes; ++node)
      if (value.IsMember(node)) json["in_sync"].push_back(NodeName(node));
    json["cluster"] = ToString(value.cluster);
  }
  return json.dump();
}

absl::StatusOr<Register> ParseRegister(std::string_view text) {
  if (text.size() > kMaxRegisterTextBytes) return Malformed("it is too long");
  // nlohmann takes it for the end, whatever follows.
  if (text.find('\0') != std::string_view::npos) return Malformed("it has a NUL");
  size_t names = 0;
  Json json = ParseJson(text, names);
  if (!json.is_object()) return Malformed("it is no JSON object");
  if (names == 0) return Register{};
  ZS_ASSIGN_OR_RETURN(Register value, FromJson(json));
  // All four are there, so more names are others, or repeats.
  if (names != kFields) return Malformed("it has other fields, or one twice");
  if (absl::Status status = CheckRegister(value); !status.ok()) return Malformed(MessageOf(status));
  return value;
}

}  // namespace zsched::broker
