// The pool's protocol: a job is published, whoever is awake joins it, and it ends when its items and its helpers are done.
#include "thread_pool.h"

#include <system_error>

namespace langevin {

namespace {
// Kernels of a training step follow each other within microseconds; waking a sleeping thread takes longer than that.
constexpr int kSpinMicroseconds = 40;
}  // namespace

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

ThreadPool::ThreadPool(int threads) : threads_(threads < 1 ? 1 : threads) {}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::start() {
  started_ = true;
  workers_.reserve(threads_ - 1);
  try {
    while (static_cast<int>(workers_.size()) < threads_ - 1) workers_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    // The system allows no more threads: those that there are do the work.
  }
}

void ThreadPool::takeItems() {
  for (;;) {
    const int64_t item = next_.fetch_add(1, std::memory_order_relaxed);
    if (item >= items_) return;
    fn_(closure_, item);
  }
}

void ThreadPool::run(int64_t items, void (*fn)(const void*, int64_t), const void* closure) {
  if (items <= 1 || threads_ == 1) {
    for (int64_t item = 0; item < items; item++) fn(closure, item);
    return;
  }
  if (!started_) start();
  fn_ = fn;
  closure_ = closure;
  items_ = items;
  next_.store(0, std::memory_order_relaxed);
  open_.store(true);
  epoch_.fetch_add(1);
  // A worker counts itself as sleeping before it looks at the epoch, so one of the two sees the other.
  const int64_t sleeping = sleeping_.load();
  if (sleeping > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (sleeping <= items - 1) wake_.notify_all();
    else
      for (int64_t i = 0; i < items - 1; i++) wake_.notify_one();
  }
  takeItems();
  // A worker counts itself as inside before it looks whether the job is open. So whoever joined in time is waited for, and
  // whoever comes later (or still sleeps) finds it closed.
  open_.store(false);
  const auto left = [this] { return inside_.load() == 0; };
  if (spinUntil(kSpinMicroseconds, left)) return;
  // A long item: its worker, or the threads of JavaScript, may need this processor.
  std::unique_lock<std::mutex> lock(mutex_);
  callerWaits_.store(true);
  left_.wait(lock, left);
  callerWaits_.store(false);
}

void ThreadPool::work() {
  uint64_t seen = 0;
  for (;;) {
    const auto news = [&] { return epoch_.load() != seen || stop_.load(); };
    if (!spinUntil(kSpinMicroseconds, news)) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, news);
      sleeping_.fetch_sub(1);
    }
    if (stop_.load()) return;
    seen = epoch_.load();
    inside_.fetch_add(1);
    if (open_.load()) takeItems();
    // The caller says that it waits before it looks who is inside, so one of the two sees the other.
    if (inside_.fetch_sub(1) == 1 && callerWaits_.load()) {
      std::lock_guard<std::mutex> lock(mutex_);
      left_.notify_one();
    }
  }
}

}  // namespace langevin
