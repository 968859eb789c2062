#include "client/gateway/sse.h"

#include <memory>

namespace zsched::gateway {
namespace {

// Less than what proxies take for silence; more than costs anything.
constexpr int64_t kCommentMs = 10'000;

}  // namespace

bool SseWriter::Event(std::string_view name, std::string_view data, std::string_view id) {
  std::string text;
  if (!id.empty()) text.append("id: ").append(id).append("\n");
  text.append("event: ").append(name).append("\ndata: ").append(data).append("\n\n");
  silent_ms_ = 0;
  return sink_.Write(text);
}

bool SseWriter::Beat(int64_t ms) {
  if (!sink_.Sleep(ms)) return false;
  silent_ms_ += ms;
  if (silent_ms_ < kCommentMs) return true;
  silent_ms_ = 0;
  return sink_.Write(": still here\n\n");
}

Reply StreamReply(const Backend& backend, const Request& request,
                  std::function<void(Sink&)> stream) {
  auto place = std::make_shared<WaitingRoom::Place>(backend.waiting.Enter());
  if (!*place) return ProblemReply(NoPlace(), request);
  Reply reply;
  reply.content_type = kEventStream;
  // Buffering proxies know this one.
  reply.headers.emplace_back("X-Accel-Buffering", "no");
  reply.stream = [place, stream = std::move(stream)](Sink& sink) { stream(sink); };
  return reply;
}

}  // namespace zsched::gateway
