// The bodies of the frames a worker sends, as FlatBuffers. Owned by worker/core. Pure.
//
// Example:
//   flatbuffers::FlatBufferBuilder builder;
//   dealer->Send(MessageType::kResults, EncodeResults(*frame, &builder));
//
// Threads: pure functions. Every result points into `builder` (which is cleared first) and lives
// until its next use.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "schemas/ids.h"
#include "worker/core/ledger.h"
#include "worker/core/outputs.h"
#include "worker/core/reports.h"

namespace zsched::worker {

// What a worker says about itself when it greets a broker.
struct Identity {
  Uuid id;
  std::string name;
  std::string host;
  std::string version;
  uint32_t pid = 0;
  std::vector<std::string> queues;  // empty: every queue
  std::vector<std::string> types;   // empty: every type
  std::vector<std::pair<std::string, std::string>> labels;
  uint32_t concurrency = 0;
};

// `number`: higher than that of every hello before, in the life of `identity.id`.
std::string_view EncodeHello(const Identity& identity, bool draining,
                             const std::vector<wire::LeaseRef>& held, uint32_t number,
                             flatbuffers::FlatBufferBuilder* builder);
std::string_view EncodeHeartbeat(const HeartbeatInfo& info,
                                 flatbuffers::FlatBufferBuilder* builder);
std::string_view EncodeCredit(const Grant& grant, flatbuffers::FlatBufferBuilder* builder);
std::string_view EncodeRelease(const std::vector<wire::LeaseRef>& leases,
                               flatbuffers::FlatBufferBuilder* builder);
std::string_view EncodeProgress(std::span<const Report* const> reports,
                                flatbuffers::FlatBufferBuilder* builder);
std::string_view EncodeOutput(std::span<const OutputPageRef> pages,
                              flatbuffers::FlatBufferBuilder* builder);
std::string_view EncodeResults(const ResultsFrame& frame, flatbuffers::FlatBufferBuilder* builder);

}  // namespace zsched::worker
