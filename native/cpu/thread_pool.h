// A small persistent pool of threads that shares out the items of one kernel at a time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "processors.h"

namespace langevin {

// Tells the processor that this is a waiting loop.
void relax();

// Runs `done()` in a waiting loop for about `microseconds`; returns whether it became true.
template <class F>
bool spinUntil(int microseconds, const F& done);

class ThreadPool {
 public:
  // The calling thread counts as one of `threads`; the others start with the first job that can use them.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Calls fn(closure, item) for item = 0..items-1, each exactly once. fn must not throw. One caller at a time.
  void run(int64_t items, void (*fn)(const void*, int64_t), const void* closure);

 private:
  void start();
  void work();
  void takeItems();

  const int threads_;
  std::vector<std::thread> workers_;
  bool started_ = false;

  // The job. Written while it is closed and nobody is inside.
  void (*fn_)(const void*, int64_t) = nullptr;
  const void* closure_ = nullptr;
  int64_t items_ = 0;

  // On cache lines of their own: all threads count in them.
  alignas(64) std::atomic<int64_t> next_{0};    // the next item that nobody has taken
  alignas(64) std::atomic<int> inside_{0};      // workers that may be reading the job
  alignas(64) std::atomic<uint64_t> epoch_{0};  // counts jobs
  std::atomic<bool> open_{false};               // workers may still join
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> callerWaits_{false};
  std::condition_variable left_;
};

}  // namespace langevin

#include <chrono>

namespace langevin {

template <class F>
bool spinUntil(int microseconds, const F& done) {
  // With one processor, waiting actively only keeps the others from finishing.
  static const bool useful = availableProcessors() > 1;
  if (done()) return true;
  if (!useful) return false;
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(microseconds);
  do {
    for (int i = 0; i < 32; i++) {
      if (done()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

}  // namespace langevin
