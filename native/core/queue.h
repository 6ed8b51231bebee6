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
#include "runner.h"

namespace langevin {

// All public functions are called from one thread, that of the owner's environment.
class Queue {
 public:
  // Called on the queue's thread, once the work before it is done.
  using Completion = std::function<void(Failure)>;

  explicit Queue(int threads) : runner_(threads) {}
  ~Queue() { stop(); }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  int threads() const { return runner_.threads(); }

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

  // Blocks until everything queued is done.
  void wait();
  // Whether nothing is queued or running. Then the calling thread may touch buffers itself.
  bool idle() const { return unfinished_.load(std::memory_order_acquire) == 0; }
  // The first failure since the last call.
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
  void runReplay(Replay& replay, const Completion& done);
  void keep(const Failure& failure);

  CommandRunner runner_;
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
