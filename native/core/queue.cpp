// The queue's thread and what it does with each item.
#include "queue.h"

#include <cstring>

#include "../cpu/thread_pool.h"

namespace langevin {

namespace {

// An eager loop submits an op every few microseconds; waking a sleeping thread costs more than that on both sides.
constexpr int kSpinMicroseconds = 50;

// How much may be queued: about 16,000 commands at what one takes at most, or some large writes.
constexpr size_t kMaxQueuedWeight = size_t{256} << 20;
constexpr size_t kCommandWeight = 16 << 10;

}  // namespace

void Queue::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  arrived_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Queue::submit(std::unique_ptr<Batch> batch) {
  if (batch->steps.empty()) return;
  Item item;
  item.weight = kCommandWeight * batch->steps.size();
  item.batch = std::move(batch);
  push(std::move(item));
}

void Queue::replay(std::shared_ptr<Replay> replay, Completion done) {
  Item item;
  item.weight = kCommandWeight + replay->size();
  item.replay = std::move(replay);
  item.done = std::move(done);
  push(std::move(item));
}

void Queue::write(void* target, const void* source, size_t bytes) {
  if (bytes == 0) return;
  if (empty()) return keep(backend_->write(target, source, bytes));
  Item item;
  item.staging.reset(new char[bytes]);
  std::memcpy(item.staging.get(), source, bytes);
  item.target = target;
  item.source = item.staging.get();
  item.bytes = bytes;
  item.weight = kCommandWeight + bytes;
  push(std::move(item));
}

void Queue::read(void* target, const void* source, size_t bytes, Completion done) {
  Item item;
  item.target = target;
  item.source = source;
  item.bytes = bytes;
  item.done = std::move(done);
  push(std::move(item));
}

void Queue::push(Item item) {
  if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
  bool wake;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    if (queuedWeight_ > 0 && queuedWeight_ + item.weight > kMaxQueuedWeight) {
      ownerWaits_ = true;
      finished_.wait(lock, [this] { return queuedWeight_ <= kMaxQueuedWeight / 2; });
      ownerWaits_ = false;
    }
    queuedWeight_ += item.weight;
    items_.push_back(std::move(item));
    queued_.fetch_add(1, std::memory_order_relaxed);
    unfinished_.fetch_add(1, std::memory_order_relaxed);
    wake = sleeping_;
  }
  if (wake) arrived_.notify_one();
}

void Queue::drain() {
  if (spinUntil(kSpinMicroseconds, [this] { return empty(); })) return;
  std::unique_lock<std::mutex> lock(mutex_);
  ownerWaits_ = true;
  finished_.wait(lock, [this] { return empty(); });
  ownerWaits_ = false;
}

void Queue::wait() {
  drain();
  keep(backend_->finish());
}

Failure Queue::readNow(void* target, const void* source, size_t bytes) {
  drain();
  keep(backend_->read(target, source, bytes));
  return takeFailure();
}

Failure Queue::takeFailure() {
  std::lock_guard<std::mutex> lock(mutex_);
  Failure failure = std::move(failure_);
  failure_ = {};
  return failure;
}

void Queue::keep(const Failure& failure) {
  if (failure.op.empty()) return;
  std::lock_guard<std::mutex> lock(mutex_);
  if (failure_.op.empty()) failure_ = failure;
}

bool Queue::nextItems(std::vector<Item>& items) {
  spinUntil(kSpinMicroseconds, [this] { return queued_.load(std::memory_order_relaxed) != 0 || stop_.load(); });
  std::unique_lock<std::mutex> lock(mutex_);
  sleeping_ = true;
  arrived_.wait(lock, [this] { return !items_.empty() || stop_.load(); });
  sleeping_ = false;
  items.swap(items_);
  queued_.store(0, std::memory_order_relaxed);
  return !stop_.load();
}

void Queue::loop() {
  std::vector<Item> items;
  while (nextItems(items)) {
    for (Item& item : items) {
      if (stop_.load()) return;
      run(item);
      const size_t weight = item.weight;
      item = {};
      std::lock_guard<std::mutex> lock(mutex_);
      queuedWeight_ -= weight;
      unfinished_.fetch_sub(1, std::memory_order_release);
      if (ownerWaits_) finished_.notify_all();
    }
    items.clear();
  }
}

void Queue::run(Item& item) {
  if (item.replay != nullptr) return runReplay(item.replay, item.done);
  if (item.batch != nullptr) return runBatch(*item.batch);
  if (item.staging != nullptr) return keep(backend_->write(item.target, item.source, item.bytes));
  keep(backend_->read(item.target, item.source, item.bytes));
  item.done(takeFailure());
}

void Queue::runBatch(const Batch& batch) {
  for (const Batch::Step& step : batch.steps) {
    if (stop_.load(std::memory_order_relaxed)) return;
    keep(backend_->run(step));
  }
}

void Queue::runReplay(const std::shared_ptr<Replay>& replay, const Completion& done) {
  const Failure failure = backend_->replay(replay, done != nullptr, stop_);
  if (!done) keep(failure);
  else if (!stop_.load()) done({});
}

}  // namespace langevin
