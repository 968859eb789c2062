#include "broker/core/lanes.h"

namespace zsched::broker {

std::string Lanes::Key(std::string_view queue, std::string_view type) {
  // Names have no control characters, so a NUL cannot be confused with either.
  std::string key;
  key.reserve(queue.size() + 1 + type.size());
  key.append(queue).append(1, '\0').append(type);
  return key;
}

uint32_t Lanes::Find(std::string_view queue, std::string_view type) const {
  auto it = by_name_.find(Key(queue, type));
  return it == by_name_.end() ? 0 : it->second;
}

const Queue* Lanes::FindQueue(std::string_view name) const {
  auto it = queue_by_name_.find(absl::string_view(name.data(), name.size()));
  return it == queue_by_name_.end() ? nullptr : &queues_[it->second];
}

uint32_t Lanes::FindOrCreateQueue(std::string_view name) {
  auto [it, is_new] =
      queue_by_name_.try_emplace(std::string(name), static_cast<uint32_t>(queues_.size()));
  if (is_new) {
    queues_.emplace_back();
    queues_.back().name = std::string(name);
  }
  return it->second;
}

void Lanes::Create(uint32_t number, std::string_view queue, std::string_view type) {
  ZS_CHECK(number == lanes_.size());
  auto lane = std::make_unique<Lane>();
  lane->queue = FindOrCreateQueue(queue);
  lane->type = std::string(type);
  lanes_.push_back(std::move(lane));
  bool inserted = by_name_.emplace(Key(queue, type), number).second;
  ZS_CHECK(inserted);
}

void Lanes::PushBack(uint32_t slot) {
  Task& task = tasks_[slot];
  Line& line = lanes_[task.lane]->lines[task.priority];
  task.next = kNil;
  task.prev = line.tail;
  if (line.tail != kNil) {
    tasks_[line.tail].next = slot;
  } else {
    line.head = slot;
    touched_.push_back({task.lane, task.priority});
  }
  line.tail = slot;
}

void Lanes::PushFront(uint32_t slot) {
  Task& task = tasks_[slot];
  Line& line = lanes_[task.lane]->lines[task.priority];
  task.prev = kNil;
  task.next = line.head;
  if (line.head != kNil)
    tasks_[line.head].prev = slot;
  else
    line.tail = slot;
  line.head = slot;
  touched_.push_back({task.lane, task.priority});
}

void Lanes::Remove(uint32_t slot) {
  Task& task = tasks_[slot];
  Line& line = lanes_[task.lane]->lines[task.priority];
  if (task.prev != kNil)
    tasks_[task.prev].next = task.next;
  else
    line.head = task.next;
  if (task.next != kNil) {
    tasks_[task.next].prev = task.prev;
    tasks_.Prefetch(tasks_[task.next].next);  // mostly the next but one to be removed
  } else {
    line.tail = task.prev;
  }
}

}  // namespace zsched::broker
