// The in-order queue of a device: one thread runs command lists, replays, copies and fences in the order in which they came.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "decode.h"
#include "replay.h"

namespace langevin {

// All public functions are called from one thread, that of the owner's environment.
class Queue {
 public:
  // Called on the queue's thread, once the work before it is done.
  using Completion = std::function<void(Failure)>;

  explicit Queue(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}
  ~Queue() { stop(); }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  Backend& backend() const { return *backend_; }

  // Waits for the command that is running and drops the rest, without calling its completions. Nothing runs afterwards.
  void stop();

  // Returns before the work is done. Blocks only while so much is queued that the caller must be running away from it.
  void submit(std::unique_ptr<Batch> batch);
  // A failure stays with the replay where somebody is told of its end, and else with the queue. `done` gets none.
  void replay(std::shared_ptr<Replay> replay, Completion done);
  // Copies `source` at once.
  void write(void* target, const void* source, size_t bytes);
  // `target` must stay alive until `done` was called.
  void read(void* target, const void* source, size_t bytes, Completion done);
  void fence(Completion done) { read(nullptr, nullptr, 0, std::move(done)); }

  // Blocks until everything queued is done, and fills `target`. Returns the first failure since the last one taken.
  Failure readNow(void* target, const void* source, size_t bytes);
  // Blocks until everything queued is done.
  void wait();
  // Whether nothing is queued or running.
  bool idle() const { return empty() && backend_->finished(); }
  // The first failure since the last one taken.
  Failure takeFailure();

 private:
  struct Item {
    std::unique_ptr<Batch> batch;
    std::shared_ptr<Replay> replay;
    std::unique_ptr<char[]> staging;
    void* target = nullptr;
    const void* source = nullptr;
    size_t bytes = 0;
    Completion done;
    size_t weight = 0;  // against the limit of what may be queued
  };

  void push(Item item);
  void loop();
  bool nextItems(std::vector<Item>& items);
  void run(Item& item);
  void runBatch(const Batch& batch);
  void runReplay(const std::shared_ptr<Replay>& replay, const Completion& done);
  void keep(const Failure& failure);
  // Whether nothing is queued. Then the owner's thread may use the backend.
  bool empty() const { return unfinished_.load(std::memory_order_acquire) == 0; }
  // Blocks until that is so.
  void drain();

  const std::unique_ptr<Backend> backend_;
  std::thread thread_;  // starts with the first item

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::condition_variable finished_;
  std::vector<Item> items_;
  bool sleeping_ = false;
  bool ownerWaits_ = false;
  size_t queuedWeight_ = 0;
  Failure failure_;
  std::atomic<bool> stop_{false};
  std::atomic<size_t> queued_{0};      // items that the thread has not fetched
  std::atomic<size_t> unfinished_{0};  // items queued or running
};

}  // namespace langevin
