#include "broker/core/dispatcher.h"

#include <algorithm>

#include "base/planted.h"
#include "broker/core/queue_settings.h"

namespace zsched::broker {
namespace {

// A worker with N free slots gets up to N / kShare tasks before the next one is looked at: single
// tasks when credit is small (long tasks, where balance counts), long runs when it is large (short
// tasks, where speed counts).
constexpr uint32_t kShare = 16;
// A heap is rebuilt when it has this many times more garbage than lines.
constexpr size_t kGarbageFactor = 4;
constexpr size_t kGarbageFloor = 64;

bool Contains(const std::vector<std::string>& sorted, std::string_view name) {
  return sorted.empty() || std::binary_search(sorted.begin(), sorted.end(), name);
}

}  // namespace

bool Dispatcher::Accepts(const Class& klass, std::string_view queue, std::string_view type) {
  return Contains(klass.queues, queue) && Contains(klass.types, type);
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
    for (uint32_t lane = 1; lane < classes_of_lane_.size(); ++lane) Match(number, lane);
  }
  ++classes_.at(number).sessions;
  seats_[session] = Seat{number, 0, true};
  return true;
}

void Dispatcher::Leave(uint32_t session) {
  SetFree(session, 0);
  uint32_t number = seats_[session].klass;
  seats_[session] = Seat{};
  if (--classes_.at(number).sessions > 0) return;
  for (auto& list : classes_of_lane_)
    list.erase(std::remove(list.begin(), list.end(), number), list.end());
  order_.erase(std::remove(order_.begin(), order_.end(), number), order_.end());
  classes_.erase(number);
}

void Dispatcher::SetFree(uint32_t session, uint32_t free) {
  Seat& seat = seats_[session];
  ZS_CHECK(seat.used);
  if (seat.free == free) return;
  auto& hungry = classes_.at(seat.klass).hungry;
  if (seat.free > 0) hungry.erase({seat.free, session});
  if (free > 0) hungry.insert({free, session});
  seat.free = free;
}

void Dispatcher::LaneCreated(uint32_t lane) {
  ZS_CHECK(lane == classes_of_lane_.size());
  classes_of_lane_.emplace_back();
  if (ZS_PLANTED("new-lane-unserved")) return;
  for (uint32_t number : order_) Match(number, lane);
}

void Dispatcher::Match(uint32_t class_number, uint32_t lane) {
  Class& klass = classes_.at(class_number);
  if (!Accepts(klass, lanes_.queue_of(lane).name, lanes_[lane].type)) return;
  classes_of_lane_[lane].push_back(class_number);
  for (int priority = 0; priority < kPriorities; ++priority) AddEntry(klass, lane, priority);
}

// Makes sure that the class has an entry at or before the head of the line.
void Dispatcher::AddEntry(Class& klass, uint32_t lane, int priority) {
  uint32_t head = lanes_[lane].lines[static_cast<size_t>(priority)].head;
  if (head == kNil) return;
  const Task& task = tasks_[head];
  LineEntry& known = klass.entries[lane][static_cast<size_t>(priority)];
  if (known.id != 0 && std::tie(known.order, known.id) <= std::tie(task.order, task.id)) return;
  uint32_t queue = lanes_[lane].queue;
  QueueHeap& heap = klass.heaps[queue];
  if (known.id != 0) ++heap.garbage;
  known = {task.order, task.id};
  heap.heap.push_back({task.order, task.id, lane, static_cast<int8_t>(priority)});
  std::push_heap(heap.heap.begin(), heap.heap.end());
  JoinRing(klass, queue, heap);
  if (heap.garbage > kGarbageFloor &&
      heap.garbage > kGarbageFactor * (heap.heap.size() - heap.garbage))
    Compact(klass, heap);
}

void Dispatcher::Compact(Class& klass, QueueHeap& heap) {
  std::erase_if(heap.heap, [&](const Entry& e) {
    const LineEntry& known = klass.entries[e.lane][static_cast<size_t>(e.priority)];
    return known.order != e.order || known.id != e.id;
  });
  std::make_heap(heap.heap.begin(), heap.heap.end());
  heap.garbage = 0;
}

void Dispatcher::JoinRing(Class& klass, uint32_t queue, QueueHeap& heap) {
  if (heap.in_ring) return;
  heap.in_ring = true;
  klass.ring.push_back(queue);
}

void Dispatcher::TakeReopened() {
  for (uint32_t queue : gates_.TakeReopened())
    for (auto& [number, klass] : classes_)
      if (auto heap = klass.heaps.find(queue); heap != klass.heaps.end())
        JoinRing(klass, queue, heap->second);
}

const Queue* Dispatcher::FindForgotten() const {
  if (!lanes_.touched().empty() || gates_.has_reopened()) return nullptr;  // before Run
  for (const auto& [number, klass] : classes_) {
    if (klass.hungry.empty()) continue;
    for (uint32_t lane = 1; lane < classes_of_lane_.size(); ++lane) {
      const uint32_t queue = lanes_[lane].queue;
      if (!Accepts(klass, lanes_.queues()[queue].name, lanes_[lane].type)) continue;
      const bool ready = std::any_of(lanes_[lane].lines.begin(), lanes_[lane].lines.end(),
                                     [](const Line& line) { return line.head != kNil; });
      auto heap = klass.heaps.find(queue);
      if (ready && gates_.Look(queue) == QueueGate::kOpen &&
          (heap == klass.heaps.end() || !heap->second.in_ring))
        return &lanes_.queues()[queue];
    }
  }
  return nullptr;
}

void Dispatcher::TakeTouched() {
  for (Touched touched : lanes_.touched())
    if (touched.lane < classes_of_lane_.size())
      for (uint32_t number : classes_of_lane_[touched.lane])
        AddEntry(classes_.at(number), touched.lane, touched.priority);
  lanes_.ClearTouched();
}

// The first task in the order of the queue, or kNil. Repairs the top of the heap until it is true.
uint32_t Dispatcher::Peek(Class& klass, QueueHeap& heap) {
  while (!heap.heap.empty()) {
    Entry top = heap.heap.front();
    auto priority = static_cast<size_t>(top.priority);
    LineEntry& known = klass.entries[top.lane][priority];
    bool garbage = known.order != top.order || known.id != top.id;
    uint32_t head = lanes_[top.lane].lines[priority].head;
    if (!garbage && head != kNil && tasks_[head].id == top.id && tasks_[head].order == top.order)
      return head;
    std::pop_heap(heap.heap.begin(), heap.heap.end());
    heap.heap.pop_back();
    if (garbage) {
      --heap.garbage;
    } else {
      known = LineEntry{};
      if (head == kNil) continue;
      known = {tasks_[head].order, tasks_[head].id};
      heap.heap.push_back({known.order, known.id, top.lane, top.priority});
      std::push_heap(heap.heap.begin(), heap.heap.end());
    }
  }
  return kNil;
}

// The next task for the class: its queues take turns.
uint32_t Dispatcher::NextTask(Class& klass) {
  while (!klass.ring.empty()) {
    uint32_t queue = klass.ring.front();
    QueueHeap& heap = klass.heaps[queue];
    uint32_t task = gates_.MayGive(queue) ? Peek(klass, heap) : kNil;
    const bool turn_over = ++klass.given >= WeightOf(lanes_.queues()[queue].settings);
    if (task != kNil && !turn_over) return task;
    klass.given = 0;
    klass.ring.pop_front();
    heap.in_ring = task != kNil;
    if (task == kNil) continue;
    klass.ring.push_back(queue);
    return task;
  }
  return kNil;
}

size_t Dispatcher::RunClass(Class& klass, size_t max_tasks,
                            absl::FunctionRef<uint32_t(uint32_t, uint32_t)>& assign) {
  size_t given = 0;
  while (given < max_tasks && !klass.hungry.empty()) {
    auto [free, session] = *klass.hungry.rbegin();
    uint32_t share = std::max<uint32_t>(1, free / kShare), left = free;
    bool any = false;
    for (uint32_t i = 0; i < share && left > 0 && given < max_tasks; ++i) {
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

size_t Dispatcher::Run(size_t max_tasks,
                       absl::FunctionRef<uint32_t(uint32_t session, uint32_t task)> assign) {
  TakeTouched();
  TakeReopened();
  size_t given = 0;
  for (size_t i = 0; i < order_.size() && given < max_tasks; ++i) {
    Class& klass = classes_.at(order_[(turn_ + i) % order_.size()]);
    given += RunClass(klass, max_tasks - given, assign);
  }
  ++turn_;
  return given;
}

}  // namespace zsched::broker
