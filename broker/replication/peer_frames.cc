#include "broker/replication/peer_frames.h"

#include <utility>

#include "flatbuffers/flatbuffers.h"
#include "schemas/errors.h"
#include "schemas/frame.h"
#include "schemas/peer_generated.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

using flatbuffers::FlatBufferBuilder;

// --- Out ------------------------------------------------------------------------------------------

wire::RegisterValue WireOf(const Register& value) {
  return {value.epoch.value(), wire::Uuid(value.cluster.hi, value.cluster.lo), value.active,
          value.in_sync};
}

wire::LogEnd WireOf(const LogEnd& end) { return {end.lsn.value(), end.epoch.value(), end.hash}; }

// Each of these writes the body of one message, and says of what type it is.
MessageType Write(const PeerHeartbeat& message, FlatBufferBuilder& out) {
  const PeerState& state = message.state;
  const wire::RegisterValue known = WireOf(state.known);
  const wire::LogEnd end = WireOf(state.end);
  out.Finish(wire::CreatePeerState(out, state.life, message.node, state.role, &known, &end,
                                   state.stuck, out.CreateString(message.address),
                                   out.CreateString(message.worker_address)));
  return MessageType::kPeerState;
}

MessageType Write(const PeerAppend& message, FlatBufferBuilder& out) {
  const LogPart& part = message.part;
  const auto records =
      out.CreateVector(reinterpret_cast<const uint8_t*>(part.records.data()), part.records.size());
  out.Finish(wire::CreateAppend(out, message.life, message.epoch.value(), part.epoch.value(),
                                part.first_lsn.value(), part.count, part.hash_before, records));
  return MessageType::kAppend;
}

MessageType Write(const PeerAppended& message, FlatBufferBuilder& out) {
  out.Finish(wire::CreateAppended(out, message.life, message.epoch.value(), message.lsn.value()));
  return MessageType::kAppended;
}

MessageType Write(const PeerFetch& message, FlatBufferBuilder& out) {
  const wire::LogEnd end = WireOf(message.end);
  out.Finish(wire::CreateFetch(out, message.life, message.epoch.value(), &end));
  return MessageType::kFetch;
}

MessageType Write(const PeerDiverged& message, FlatBufferBuilder& out) {
  out.Finish(wire::CreateDiverged(out, message.life, message.epoch.value(), message.lsn.value()));
  return MessageType::kDiverged;
}

MessageType Write(const PeerHandover& message, FlatBufferBuilder& out) {
  out.Finish(wire::CreateHandover(out, message.epoch.value(), message.end.value()));
  return MessageType::kHandover;
}

MessageType Write(const PeerSnapshotFetch& message, FlatBufferBuilder& out) {
  out.Finish(wire::CreateSnapshotFetch(out, message.life, message.epoch.value(), message.part,
                                       message.again));
  return MessageType::kSnapshotFetch;
}

flatbuffers::Offset<flatbuffers::Vector<uint8_t>> WireOf(std::string_view bytes,
                                                         FlatBufferBuilder& out) {
  return out.CreateVector(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

MessageType Write(const PeerSnapshotPart& message, FlatBufferBuilder& out) {
  const SnapshotPart& part = message.part;
  const auto rows = WireOf(part.rows, out);
  const auto records = part.last ? WireOf(part.tail.records, out) : 0;
  out.Finish(wire::CreateSnapshotPart(out, message.life, message.epoch.value(), part.number,
                                      part.hash, rows, part.last, part.tail.epoch.value(),
                                      part.tail.first_lsn.value(), part.tail.count,
                                      part.tail.hash_before, records));
  return MessageType::kSnapshotPart;
}

MessageType Write(const PeerMerge& message, FlatBufferBuilder& out) {
  const MergePart& part = message.part;
  const auto entries = WireOf(part.entries, out);
  out.Finish(wire::CreateMerge(out, message.epoch.value(), part.log_hash, part.epoch,
                               part.first_unknown, part.number, part.last, entries));
  return MessageType::kMerge;
}

MessageType Write(const PeerRegisterRead& message, FlatBufferBuilder& out) {
  out.Finish(wire::CreateRegisterRead(out, message.life, message.number));
  return MessageType::kRegisterRead;
}

MessageType Write(const PeerRegisterSwap& message, FlatBufferBuilder& out) {
  const wire::RegisterValue expected = WireOf(message.expected), wanted = WireOf(message.wanted);
  out.Finish(wire::CreateRegisterSwap(out, message.life, message.number, message.witness_life,
                                      &expected, &wanted));
  return MessageType::kRegisterSwap;
}

MessageType Write(const PeerRegisterAnswer& message, FlatBufferBuilder& out) {
  const bool ok = message.value.ok();
  wire::RegisterValue value;
  if (ok) value = WireOf(*message.value);
  const auto text = ok ? 0 : out.CreateString(MessageOf(message.value.status()));
  const auto code = static_cast<uint16_t>(ok ? ErrorCode::kOk : CodeOf(message.value.status()));
  out.Finish(wire::CreateRegisterAnswer(out, message.life, message.number, message.witness_life,
                                        ok ? &value : nullptr, code, text));
  return MessageType::kRegisterAnswer;
}

// --- In -------------------------------------------------------------------------------------------

absl::Status Malformed(std::string_view what) {
  return Error(ErrorCode::kMalformed, "a peer's frame: " + std::string(what));
}

bool IsEpoch(uint64_t value) { return value <= kMaxEpoch; }

LogEnd EndOf(const wire::LogEnd& end) {
  return {.lsn = Lsn(end.lsn()), .epoch = Epoch(end.epoch()), .hash = end.hash()};
}

absl::StatusOr<Register> RegisterOf(const wire::RegisterValue& in) {
  Register value;
  value.epoch = Epoch(in.epoch());
  value.active = in.active();
  value.in_sync = in.in_sync();
  value.cluster = {in.cluster().hi(), in.cluster().lo()};
  if (absl::Status bad = CheckRegister(value); !bad.ok()) return Malformed(MessageOf(bad));
  return value;
}

absl::StatusOr<PeerMessage> Read(const wire::PeerState& in) {
  PeerHeartbeat out;
  if (in.life() == 0) return Malformed("a state of no life");
  if (in.node() >= kNodes) return Malformed("there is no such node");
  if (in.role() > wire::Role::kFenced) return Malformed("there is no such role");
  if (!IsEpoch(in.end()->epoch())) return Malformed("an epoch that none can be");
  ZS_ASSIGN_OR_RETURN(out.state.known, RegisterOf(*in.known()));
  out.state.life = in.life();
  out.state.role = in.role();
  out.state.end = EndOf(*in.end());
  out.state.stuck = in.stuck();
  out.node = in.node();
  out.address = TextOf(in.address());
  out.worker_address = TextOf(in.worker_address());
  return out;
}

absl::StatusOr<PeerMessage> Read(const wire::Append& in) {
  if (in.first_lsn() == 0 || in.count() == 0 || in.records()->size() == 0)
    return Malformed("an append of nothing");
  if (!IsEpoch(in.epoch()) || !IsEpoch(in.log_epoch()) || in.log_epoch() > in.epoch())
    return Malformed("an append of an epoch that none can be");
  return PeerAppend{.epoch = Epoch(in.epoch()),
                    .life = in.life(),
                    .part = {.epoch = Epoch(in.log_epoch()),
                             .first_lsn = Lsn(in.first_lsn()),
                             .count = in.count(),
                             .hash_before = in.hash_before(),
                             .records = BytesOf(in.records())}};
}

absl::StatusOr<PeerMessage> Read(const wire::Appended& in) {
  return PeerAppended{Epoch(in.epoch()), in.life(), Lsn(in.lsn())};
}

absl::StatusOr<PeerMessage> Read(const wire::Fetch& in) {
  return PeerFetch{Epoch(in.epoch()), in.life(), EndOf(*in.end())};
}

absl::StatusOr<PeerMessage> Read(const wire::Diverged& in) {
  return PeerDiverged{Epoch(in.epoch()), in.life(), Lsn(in.lsn())};
}

absl::StatusOr<PeerMessage> Read(const wire::Handover& in) {
  return PeerHandover{Epoch(in.epoch()), Lsn(in.lsn())};
}

absl::StatusOr<PeerMessage> Read(const wire::SnapshotFetch& in) {
  if (in.life() == 0 || !IsEpoch(in.epoch())) return Malformed("a fetch of nobody's");
  return PeerSnapshotFetch{Epoch(in.epoch()), in.life(), in.part(), in.again()};
}

absl::StatusOr<PeerMessage> Read(const wire::SnapshotPart& in) {
  PeerSnapshotPart out{.epoch = Epoch(in.epoch()), .life = in.life(), .part = {}};
  if (!IsEpoch(in.epoch()) || !IsEpoch(in.log_epoch()) || in.log_epoch() > in.epoch())
    return Malformed("a snapshot of an epoch that none can be");
  out.part.number = in.part();
  out.part.hash = in.hash();
  if (in.rows() != nullptr) out.part.rows = BytesOf(in.rows());
  out.part.last = in.last();
  if (!in.last()) return out;
  if (in.first_lsn() == 0 || in.count() == 0 || in.records() == nullptr)
    return Malformed("a snapshot without the end of the log");
  out.part.tail = {.epoch = Epoch(in.log_epoch()),
                   .first_lsn = Lsn(in.first_lsn()),
                   .count = in.count(),
                   .hash_before = in.hash_before(),
                   .records = BytesOf(in.records())};
  return out;
}

absl::StatusOr<PeerMessage> Read(const wire::Merge& in) {
  if (!IsEpoch(in.epoch()) || !IsEpoch(in.log_epoch()))
    return Malformed("a merge of an epoch that none can be");
  return PeerMerge{Epoch(in.epoch()),
                   {.log_hash = in.log_hash(),
                    .epoch = in.log_epoch(),
                    .first_unknown = in.first_unknown(),
                    .number = in.part(),
                    .last = in.last(),
                    .entries = BytesOf(in.entries())}};
}

absl::StatusOr<PeerMessage> Read(const wire::RegisterRead& in) {
  return PeerRegisterRead{in.life(), in.number()};
}

absl::StatusOr<PeerMessage> Read(const wire::RegisterSwap& in) {
  PeerRegisterSwap out{.life = in.life(),
                       .number = in.number(),
                       .witness_life = in.witness_life(),
                       .expected = {},
                       .wanted = {}};
  ZS_ASSIGN_OR_RETURN(out.expected, RegisterOf(*in.expected()));
  ZS_ASSIGN_OR_RETURN(out.wanted, RegisterOf(*in.wanted()));
  if (out.wanted.empty()) return Malformed("nobody makes the register empty");
  return out;
}

absl::StatusOr<PeerMessage> Read(const wire::RegisterAnswer& in) {
  PeerRegisterAnswer out{.life = in.life(),
                         .number = in.number(),
                         .witness_life = in.witness_life(),
                         .value = Register{}};
  if (in.code() != 0) {
    out.value = Error(static_cast<ErrorCode>(in.code()), std::string(TextOf(in.message())));
    return out;
  }
  if (in.value() == nullptr) return Malformed("an answer of nothing");
  out.value = RegisterOf(*in.value());
  if (!out.value.ok()) return out.value.status();
  return out;
}

template <class Table>
absl::StatusOr<PeerMessage> ReadBody(std::string_view body) {
  const Table* table = VerifyBody<Table>(body);
  if (table == nullptr) return Malformed("the body is not what its type says");
  return Read(*table);
}

}  // namespace

std::string SealPeerFrame(const PeerMessage& message) {
  FlatBufferBuilder out(1024);
  FrameHeader header;
  header.type = std::visit([&](const auto& value) { return Write(value, out); }, message);
  return SealFrame(header, {reinterpret_cast<const char*>(out.GetBufferPointer()), out.GetSize()});
}

absl::StatusOr<PeerMessage> OpenPeerFrame(std::string_view bytes) {
  ZS_ASSIGN_OR_RETURN(const FrameView frame, OpenFrame(bytes));
  switch (frame.header.type) {
    case MessageType::kPeerState:
      return ReadBody<wire::PeerState>(frame.body);
    case MessageType::kAppend:
      return ReadBody<wire::Append>(frame.body);
    case MessageType::kAppended:
      return ReadBody<wire::Appended>(frame.body);
    case MessageType::kFetch:
      return ReadBody<wire::Fetch>(frame.body);
    case MessageType::kDiverged:
      return ReadBody<wire::Diverged>(frame.body);
    case MessageType::kHandover:
      return ReadBody<wire::Handover>(frame.body);
    case MessageType::kSnapshotFetch:
      return ReadBody<wire::SnapshotFetch>(frame.body);
    case MessageType::kSnapshotPart:
      return ReadBody<wire::SnapshotPart>(frame.body);
    case MessageType::kMerge:
      return ReadBody<wire::Merge>(frame.body);
    case MessageType::kRegisterRead:
      return ReadBody<wire::RegisterRead>(frame.body);
    case MessageType::kRegisterSwap:
      return ReadBody<wire::RegisterSwap>(frame.body);
    case MessageType::kRegisterAnswer:
      return ReadBody<wire::RegisterAnswer>(frame.body);
    default:
      return Error(ErrorCode::kUnknownMessage, "no such message between brokers");
  }
}

}  // namespace zsched::broker
