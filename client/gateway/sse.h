// Server-Sent Events, as the HTML standard has them. Owned by client/gateway.
//
//   id: 4711
//   event: succeeded
//   data: {"task":"4-17"}
//
// Threads: one, the stream's.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "client/gateway/backend.h"
#include "client/gateway/http.h"

namespace zsched::gateway {

inline constexpr std::string_view kEventStream = "text/event-stream";

class SseWriter {
 public:
  explicit SseWriter(Sink& sink) : sink_(sink) {}
  // `data` is one line. False: the stream is over.
  bool Event(std::string_view name, std::string_view data, std::string_view id = {});
  // Lets `ms` pass; says something now and then, so that what stands in between does not take the
  // connection for dead.
  bool Beat(int64_t ms);

 private:
  Sink& sink_;
  int64_t silent_ms_ = 0;
};

// Runs `stream` when there is a place for one that waits; 429 otherwise.
Reply StreamReply(const Backend& backend, const Request& request,
                  std::function<void(Sink&)> stream);

}  // namespace zsched::gateway
