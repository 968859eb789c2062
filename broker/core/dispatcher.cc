#include "broker/core/dispatcher.h"

#include <algorithm>

#include "base/planted.h"
#include "broker/core/queue_settings.h"

namespace zsched::broker {
namespace {

// A worker with N idle hands, or credit for N tasks, gets up to N / kShare before the next one is looked at:
// single tasks when credit is small (long tasks, where balance counts), long runs when it is large (short
// tasks, where speed counts).
constexpr uint32_t kShare = 16;
// A heap is rebuilt when it has this many times more garbage than lines.
constexpr size_t kGarbageFactor = 4;
constexpr size_t kGarbageFloor = 64;

bool Contains(const std::vector<std::string>& sorted, std::string_view name) {
  return sorted.empty() || std::binary_search(sorted.begin(), sorted.end(), name);
}

}  // namespace

bool Dispatcher::Accepts(const Class& klass, uint32_t lane) const {
  return Contains(klass.queues, lanes_.queue_of(lane).name) &&
         Contains(klass.types, lanes_.type_of(lane).name);
}

bool Dispatcher::Join(uint32_t session, std::vector<std::string> queues,
                      std::vector<std::string> types) {
  auto normalize = [](std::vector<std::string>& names) {
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
  };
  normalize(queues);
  normalize(types);
  if (seats_.size() <= session) seats_.resize(session + 1);
  ZS_CHECK(!seats_[session].used);
  TakeChanges();
  uint32_t number = UINT32_MAX;
  for (auto& [n, klass] : classes_)
    if (klass.queues == queues && klass.types == types) number = n;
  if (number == UINT32_MAX) {
    if (classes_.size() >= kMaxClasses) return false;
    number = next_class_++;
    Class& klass = classes_[number];
    klass.queues = std::move(queues);
    klass.types = std::move(types);
    order_.push_back(number);
    for (uint32_t lane = 1; lane < lanes_.end(); ++lane)
      if (lanes_.Has(lane)) Match(number, lane);
  }
  ++classes_.at(number).sessions;
  seats_[session] = Seat{number, Room(), true};
  return true;
}

void Dispatcher::Leave(uint32_t session) {
  SetFree(session, Room());
  uint32_t number = seats_[session].klass;
  seats_[session] = Seat{};
  if (--classes_.at(number).sessions > 0) return;
  for (auto& list : classes_of_lane_)
    list.erase(std::remove(list.begin(), list.end(), number), list.end());
  order_.erase(std::remove(order_.begin(), order_.end(), number), order_.end());
  classes_.erase(number);
}

void Dispatcher::SetFree(uint32_t session, Room room) {
  Seat& seat = seats_[session];
  ZS_CHECK(seat.used && room.idle <= room.free);
  if (seat.room == room) return;
  auto& hungry = classes_.at(seat.klass).hungry;
  if (seat.room.free > 0) hungry.erase({seat.room.idle, seat.room.free, session});
  if (room.free > 0) hungry.insert({room.idle, room.free, session});
  seat.room = room;
}

bool Dispatcher::ComesBefore(uint32_t task, uint32_t other) const {
  auto place = [this](const Task& t) {
    return std::tuple(RankOf(t.lane, t.priority, t.order), t.order, t.id);
  };
  return place(tasks_[task]) < place(tasks_[other]);
}

Dispatcher::Hands Dispatcher::IdleHands() const {
  Hands hands;
  for (const auto& [number, klass] : classes_)
    for (auto it = klass.hungry.rbegin(); it != klass.hungry.rend() && it->idle > 0; ++it)
      hands[number] += it->idle;
  return hands;
}

bool Dispatcher::TakeHand(uint32_t lane, Hands& hands) const {
  if (lane >= classes_of_lane_.size()) return false;
  for (uint32_t number : classes_of_lane_[lane]) {
    auto it = hands.find(number);
    if (it == hands.end() || it->second == 0) continue;
    --it->second;
    return true;
  }
  return false;
}

Dispatcher::Servers Dispatcher::ServersOf(uint32_t lane) const {
  Servers servers;
  if (lane >= classes_of_lane_.size()) return servers;
  for (uint32_t number : classes_of_lane_[lane]) {
    servers.all += classes_.at(number).sessions;
    servers.free += classes_.at(number).hungry.size();
  }
  return servers;
}

void Dispatcher::OnLaneCreated(const LaneChange& change) {
  gates_.OnLaneCreated(change);
  if (classes_of_lane_.size() <= change.lane) classes_of_lane_.resize(change.lane + 1);
  if (ZS_PLANTED("new-lane-unserved")) return;
  if (!lanes_.Has(change.lane) || lanes_[change.lane].serial != change.serial)
    return;  // it went again
  for (uint32_t number : order_) Match(number, change.lane);
}

void Dispatcher::OnLaneGone(const LaneChange& change) {
  gates_.OnLaneGone(change);
  for (uint32_t number : std::exchange(classes_of_lane_[change.lane], {})) {
    Class& klass = classes_.at(number);
    const std::unique_ptr<LaneState> state = std::move(klass.lanes[change.lane]);
    StreamHeap& stream = *state->stream;
    for (const LineEntry& known : state->lines)
      if (known.id != 0) ++stream.garbage;
    if (!change.last_in_stream) continue;
    stream.gone = true;
    if (stream.next == nullptr) klass.heaps.erase(change.stream);
  }
}

// Lanes that came and went, and heads that moved, in the order in which they did.
void Dispatcher::TakeChanges() {
  if (!lanes_.HasChanges()) return;
  for (const LaneChange& change : lanes_.changes())
    change.created ? OnLaneCreated(change) : OnLaneGone(change);
  for (Touched touched : lanes_.touched()) {
    if (!lanes_.Has(touched.lane)) continue;
    if (gates_.IsParked(touched.lane)) {
      gates_.OnHeadMoved(touched.lane);
      continue;
    }
    for (uint32_t number : classes_of_lane_[touched.lane])
      AddEntry(classes_.at(number), touched.lane, touched.priority);
  }
  lanes_.ClearChanges();
}

void Dispatcher::Match(uint32_t class_number, uint32_t lane) {
  Class& klass = classes_.at(class_number);
  if (!Accepts(klass, lane)) return;
  classes_of_lane_[lane].push_back(class_number);
  StreamHeap& stream = klass.heaps[lanes_[lane].stream];
  stream.number = lanes_[lane].stream;
  if (klass.lanes.size() <= lane) klass.lanes.resize(lane + 1);
  klass.lanes[lane] = std::make_unique<LaneState>(LaneState{&stream, {}});
  if (klass.turns.size() <= lanes_[lane].queue) klass.turns.resize(lanes_[lane].queue + 1);
  if (!gates_.IsParked(lane)) AddEntries(klass, lane);
}

// Smaller is earlier.
int64_t Dispatcher::RankOf(uint32_t lane, int priority, int64_t order) const {
  const auto ageing_ms = static_cast<int64_t>(lanes_.queue_of(lane).settings.ageing_ms);
  if (ageing_ms == 0) return -priority;
  // Given back: in front of all that was never out.
  if (order < 0) return INT64_MIN / 2 - priority;
  return ready_clock_.TimeOf(static_cast<uint64_t>(order)) - priority * ageing_ms;
}

void Dispatcher::AddEntries(Class& klass, uint32_t lane) {
  for (int priority = 0; priority < kPriorities; ++priority) AddEntry(klass, lane, priority);
}

// Makes sure that the class has an entry at or before the head of the line.
void Dispatcher::AddEntry(Class& klass, uint32_t lane, int priority) {
  uint32_t head = lanes_[lane].lines[static_cast<size_t>(priority)].head;
  if (head == kNil) return;
  const Task& task = tasks_[head];
  LaneState& state = *klass.lanes[lane];
  LineEntry& known = state.lines[static_cast<size_t>(priority)];
  if (known.id != 0 && std::tie(known.order, known.id) <= std::tie(task.order, task.id)) return;
  StreamHeap& heap = *state.stream;
  if (known.id != 0) ++heap.garbage;
  known = {task.order, task.id};
  heap.heap.push_back({RankOf(lane, priority, task.order), task.order, task.id, lane,
                       static_cast<int8_t>(priority)});
  std::push_heap(heap.heap.begin(), heap.heap.end());
  const uint32_t queue = lanes_[lane].queue;
  JoinTurns(klass.turns[queue], heap);
  JoinRing(klass, queue);
  if (heap.garbage > kGarbageFloor &&
      heap.garbage > kGarbageFactor * (heap.heap.size() - heap.garbage))
    Compact(klass, heap);
}

void Dispatcher::Compact(Class& klass, StreamHeap& heap) {
  std::erase_if(heap.heap, [&](const Entry& e) {
    const LaneState* state = klass.lanes[e.lane].get();
    if (state == nullptr) return true;
    const LineEntry& line = state->lines[static_cast<size_t>(e.priority)];
    return line.order != e.order || line.id != e.id;
  });
  std::make_heap(heap.heap.begin(), heap.heap.end());
  heap.garbage = 0;
}

void Dispatcher::OnAgeing(uint32_t queue) {
  TakeChanges();
  for (auto& [number, klass] : classes_)
    for (auto& [stream, heap] : klass.heaps) {
      bool changed = false;
      for (Entry& entry : heap.heap) {
        if (!lanes_.Has(entry.lane) || lanes_[entry.lane].queue != queue) continue;
        entry.rank = RankOf(entry.lane, entry.priority, entry.order);
        changed = true;
      }
      if (changed) std::make_heap(heap.heap.begin(), heap.heap.end());
    }
}

void Dispatcher::JoinTurns(QueueTurns& turns, StreamHeap& heap) {
  if (heap.next != nullptr) return;
  heap.next = turns.last != nullptr ? turns.last->next : &heap;
  if (turns.last != nullptr) turns.last->next = &heap;
  turns.last = &heap;
}

void Dispatcher::PopFront(Class& klass, QueueTurns& turns) {
  StreamHeap* front = turns.last->next;
  turns.last->next = front->next;
  if (turns.last == front) turns.last = nullptr;
  front->next = nullptr;
  if (front->gone) klass.heaps.erase(front->number);
}

void Dispatcher::JoinRing(Class& klass, uint32_t queue) {
  QueueTurns& turns = klass.turns[queue];
  if (turns.in_ring) return;
  turns.in_ring = true;
  klass.ring.push_back(queue);
}

void Dispatcher::TakeReopened() {
  for (uint32_t queue : gates_.TakeReopened())
    for (auto& [number, klass] : classes_)
      if (queue < klass.turns.size() && klass.turns[queue].last != nullptr) JoinRing(klass, queue);
  WakeLanes();
}

void Dispatcher::WakeLanes() {
  if (!gates_.has_waking()) return;
  woke_ = true;
  gates_.Wake([&](uint32_t lane) {
    for (uint32_t number : classes_of_lane_[lane]) AddEntries(classes_.at(number), lane);
  });
}

uint32_t Dispatcher::FindForgotten() const {
  if (lanes_.HasChanges() || gates_.has_reopened() || gates_.has_waking()) return 0;  // before Run
  for (const auto& [number, klass] : classes_) {
    if (klass.hungry.empty()) continue;
    for (uint32_t lane = 1; lane < lanes_.end(); ++lane) {
      if (!lanes_.Has(lane) || !Accepts(klass, lane) || lanes_.HeadOf(lane) == kNil) continue;
      const Lane& waiting = lanes_[lane];
      const bool open =
          gates_.LookAtQueue(waiting.queue) == QueueGate::kOpen &&
          gates_.Look({Scope::kType, waiting.type}) == QueueGate::kOpen &&
          (waiting.key == 0 || gates_.Look({Scope::kKey, waiting.key}) == QueueGate::kOpen);
      if (!open) continue;
      const LaneState* state = lane < klass.lanes.size() ? klass.lanes[lane].get() : nullptr;
      if (gates_.IsParked(lane) || state == nullptr || state->stream->next == nullptr ||
          !klass.turns[waiting.queue].in_ring)
        return lane;
    }
  }
  return 0;
}

// The first task in the order of the stream, or kNil. Repairs the top of the heap until it is true.
uint32_t Dispatcher::Peek(Class& klass, StreamHeap& heap) {
  while (!heap.heap.empty()) {
    const Entry& top = heap.heap.front();
    const uint32_t lane = top.lane;
    const auto priority = static_cast<size_t>(top.priority);
    LaneState* state = klass.lanes[lane].get();
    LineEntry* known = state == nullptr ? nullptr : &state->lines[priority];
    const bool garbage = known == nullptr || known->order != top.order || known->id != top.id;
    const uint32_t head = garbage ? kNil : lanes_[lane].lines[priority].head;
    const bool closed = head != kNil && !gates_.LaneMayGive(lane);
    if (head != kNil && !closed && tasks_[head].id == top.id && tasks_[head].order == top.order)
      return head;
    if (head != kNil && !closed) {
      // Its first task went: the entry stands for the next one now. In its place when it is the only one, as mostly.
      const int64_t order = tasks_[head].order;
      if (heap.heap.size() > 1) std::pop_heap(heap.heap.begin(), heap.heap.end());
      Entry& moved = heap.heap.back();
      moved.rank = RankOf(lane, static_cast<int>(priority), order);
      known->order = moved.order = order;
      known->id = moved.id = tasks_[head].id;
      if (heap.heap.size() > 1) std::push_heap(heap.heap.begin(), heap.heap.end());
      continue;
    }
    std::pop_heap(heap.heap.begin(), heap.heap.end());
    heap.heap.pop_back();
    if (garbage) {
      --heap.garbage;
      continue;
    }
    *known = LineEntry{};
    // Room that it was woken for is the next one's, before anything further back in line.
    if (closed) WakeLanes();
  }
  return kNil;
}

// The next task of a queue: its streams take turns.
uint32_t Dispatcher::PeekQueue(Class& klass, QueueTurns& turns) {
  while (turns.last != nullptr) {
    StreamHeap* front = turns.last->next;
    if (const uint32_t task = Peek(klass, *front); task != kNil) {
      turns.last = front;
      return task;
    }
    PopFront(klass, turns);
  }
  return kNil;
}

// The next task for the class: its queues take turns.
uint32_t Dispatcher::NextTask(Class& klass) {
  while (!klass.ring.empty()) {
    uint32_t queue = klass.ring.front();
    QueueTurns& turns = klass.turns[queue];
    uint32_t task = gates_.QueueMayGive(queue) ? PeekQueue(klass, turns) : kNil;
    const bool turn_over = ++klass.given >= WeightOf(lanes_.queues()[queue].settings);
    if (task != kNil && !turn_over) return task;
    klass.given = 0;
    klass.ring.pop_front();
    turns.in_ring = task != kNil;
    if (task == kNil) continue;
    klass.ring.push_back(queue);
    return task;
  }
  return kNil;
}

size_t Dispatcher::RunClass(Class& klass, size_t max_tasks, bool idle_only, Assign& assign) {
  size_t given = 0;
  while (given < max_tasks && !klass.hungry.empty()) {
    auto [idle, free, session] = *klass.hungry.rbegin();
    if (idle_only && idle == 0) break;
    const uint32_t share = std::max<uint32_t>(1, (idle > 0 ? idle : free) / kShare);
    Room left(free, idle);
    bool any = false;
    for (uint32_t i = 0; i < share && left.free > 0 && given < max_tasks; ++i) {
      uint32_t task = NextTask(klass);
      if (task == kNil) break;
      left = assign(session, task);
      ++given;
      any = true;
    }
    SetFree(session, left);
    if (!any) break;
  }
  return given;
}

size_t Dispatcher::Run(size_t max_tasks, Assign assign) {
  TakeChanges();
  TakeReopened();
  size_t given = 0;
  do {  // once more when a class found lanes that are another's to serve
    woke_ = false;
    for (const bool idle_only : {true, false})
      for (size_t i = 0; i < order_.size() && given < max_tasks; ++i) {
        Class& klass = classes_.at(order_[(turn_ + i) % order_.size()]);
        given += RunClass(klass, max_tasks - given, idle_only, assign);
      }
  } while (woke_ && given < max_tasks);
  ++turn_;
  return given;
}

}  // namespace zsched::broker
