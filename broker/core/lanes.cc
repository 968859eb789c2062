#include "broker/core/lanes.h"

namespace zsched::broker {

// Names have no control characters, so a NUL cannot be confused with any.
void Lanes::AppendKey(const LaneNames& names, std::string& key) {
  key.append(names.queue).append(1, '\0').append(names.type);
  if (names.plain()) return;
  key.append(1, '\0').append(names.concurrency_key).append(1, '\0').append(names.fairness_key);
}

uint32_t Lanes::Find(const LaneNames& names) const {
  std::string key;
  AppendKey(names, key);
  auto it = by_name_.find(key);
  return it == by_name_.end() ? 0 : it->second;
}

LaneNames Lanes::NamesOf(uint32_t lane) const {
  const Lane& named = *lanes_[lane];
  return {queues_[named.queue].name, types_[named.type].name, keys_[named.key].name,
          named.fairness_key};
}

const Queue* Lanes::FindQueue(std::string_view name) const {
  auto it = queue_by_name_.find(absl::string_view(name.data(), name.size()));
  return it == queue_by_name_.end() ? nullptr : &queues_[it->second];
}

const Type* Lanes::FindType(std::string_view name) const {
  auto it = type_by_name_.find(absl::string_view(name.data(), name.size()));
  return it == type_by_name_.end() ? nullptr : &types_[it->second];
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

uint32_t Lanes::FindOrCreateType(std::string_view name) {
  auto [it, is_new] =
      type_by_name_.try_emplace(std::string(name), static_cast<uint32_t>(types_.size()));
  if (is_new) {
    types_.emplace_back();
    types_.back().name = std::string(name);
  }
  return it->second;
}

uint32_t Lanes::TakeKey(uint32_t queue, std::string_view name) {
  if (name.empty()) return 0;
  auto [it, is_new] = key_by_name_.try_emplace({queue, std::string(name)});
  if (is_new && free_keys_.empty()) {
    it->second = static_cast<uint32_t>(keys_.size());
    keys_.emplace_back();
  } else if (is_new) {
    it->second = free_keys_.back();
    free_keys_.pop_back();
  }
  Key& key = keys_[it->second];
  if (is_new) key = {queue, 0, std::string(name)};
  ++key.lanes;
  return it->second;
}

void Lanes::Create(uint32_t number, const LaneNames& names) {
  ZS_CHECK(number > 0 && !Has(number));
  for (; end() <= number; lanes_.emplace_back()) free_.insert(end());
  free_.erase(number);
  auto lane = std::make_unique<Lane>();
  lane->queue = FindOrCreateQueue(names.queue);
  lane->type = FindOrCreateType(names.type);
  lane->key = TakeKey(lane->queue, names.concurrency_key);
  lane->fairness_key = std::string(names.fairness_key);
  lane->serial = ++last_serial_;
  Stream& stream = streams_[{lane->queue, lane->fairness_key}];
  if (stream.lanes++ == 0) stream.number = ++last_stream_;
  lane->stream = stream.number;
  lane->base = names.plain() ? number : Find({names.queue, names.type, {}, {}});
  ZS_CHECK(lane->base != 0);
  changes_.push_back({number, lane->key, lane->stream, lane->serial, true, false,
                      lane->key != 0 && keys_[lane->key].lanes == 1});
  lanes_[number] = std::move(lane);
  std::string name;
  AppendKey(names, name);
  bool inserted = by_name_.emplace(std::move(name), number).second;
  ZS_CHECK(inserted);
}

void Lanes::Drop(uint32_t number) {
  const Lane& lane = *lanes_[number];
  ZS_CHECK(!IsPlain(number) && lane.tasks == 0);
  std::string name;
  AppendKey(NamesOf(number), name);
  by_name_.erase(name);
  LaneChange change{number, lane.key, lane.stream, lane.serial, false, false, false};
  auto stream = streams_.find(InQueue{lane.queue, lane.fairness_key});
  if (--stream->second.lanes == 0) {
    change.last_in_stream = true;
    streams_.erase(stream);
  }
  if (Key& key = keys_[lane.key]; lane.key != 0 && --key.lanes == 0) {
    ZS_CHECK(key.running == 0);
    change.edge_of_key = true;
    key_by_name_.erase({key.queue, key.name});
  }
  changes_.push_back(change);
  lanes_[number].reset();
  free_.insert(number);
}

void Lanes::ClearChanges() {
  for (const LaneChange& change : changes_)
    if (!change.created && change.edge_of_key) free_keys_.push_back(change.key);
  changes_.clear();
  touched_.clear();
}

void Lanes::ReportAll() {
  ClearChanges();
  std::vector<bool> seen(keys_.size());
  for (uint32_t number = 1; number < end(); ++number) {
    if (!Has(number)) continue;
    const Lane& lane = *lanes_[number];
    const bool first_of_key = lane.key != 0 && !seen[lane.key];
    seen[lane.key] = true;
    changes_.push_back({number, lane.key, lane.stream, lane.serial, true, false, first_of_key});
  }
}

uint32_t Lanes::HeadOf(uint32_t lane) const {
  const auto& lines = lanes_[lane]->lines;
  for (size_t priority = lines.size(); priority-- > 0;)
    if (lines[priority].head != kNil) return lines[priority].head;
  return kNil;
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
