// Two windows of graphs are under way at a time: while the device works on one, the host fills the other.
#include "window.h"

#include <algorithm>
#include <chrono>

namespace langevin {
namespace cuda {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWidest = DeviceProgram::kRows / 2;

// A window that takes longer is made narrower, so that progress is told and stops are heard; a shorter one is made wider.
constexpr std::chrono::milliseconds kLong{100}, kShort{10};

class Windows {
 public:
  Windows(Replay& replay, DeviceProgram& program, const std::atomic<bool>& dropped)
      : replay_(replay), program_(program), dropped_(dropped) {}

  void run() {
    program_.begin(replay_.values());
    try {
      fill();
    } catch (const CaptureFailure& failure) {
      close();
      drain();
      // What a graph did before is worth more than what the next one cannot do.
      if (!replay_.end().failure.op.empty()) return;
      replay_.end().failure = failure.failure;
      replay_.end().list = failure.list;
      replay_.end().command = failure.command;
    } catch (const CudaError&) {
      program_.awaitAll();
      throw;
    }
  }

 private:
  void fill() {
    int64_t steps = 0;
    while (steps < replay_.steps() && !ends()) {
      const int64_t done = program_.enqueue(std::min<int64_t>(width_ - open_, replay_.steps() - steps));
      steps += done;
      open_ += static_cast<int>(std::max<int64_t>(done, 1));
      if (open_ < width_) continue;
      close();
      if (marks_.size() == 2) settle();
    }
    close();
    drain();
  }

  bool ends() const {
    return replay_.stopped() || dropped_.load(std::memory_order_relaxed) || !replay_.end().failure.op.empty();
  }

  void close() {
    if (open_ == 0) return;
    marks_.push_back(program_.mark());
    open_ = 0;
  }

  void drain() {
    while (!marks_.empty()) settle();
  }

  // Waits for the older window.
  void settle() {
    std::unique_ptr<Mark> mark = std::move(marks_.front());
    marks_.pop_front();
    mark->wait();
    adapt();
    const Progress progress = mark->progress();
    ReplayEnd& end = replay_.end();
    const int64_t told = end.steps;
    for (int64_t step = told; step < progress.steps; step++) copyReports(mark->ring(), step);
    end.steps = progress.steps;
    // The list with the fault has begun, but is not complete.
    end.lists = progress.lists - (progress.fault != 0);
    if (progress.fault != 0 && end.failure.op.empty()) {
      const FaultSite& site = program_.site(progress.fault);
      end.failure = site.failure;
      end.list = site.list;
      end.command = site.command;
    }
    if (end.steps > told) replay_.tell(end.steps);
    program_.giveBack(std::move(mark));
  }

  void copyReports(const double* ring, int64_t step) {
    double* const row = replay_.reportRow(step);
    if (row == nullptr) return;
    const size_t n = replay_.program().reports.size();
    std::copy_n(ring + static_cast<size_t>(step % DeviceProgram::kRows) * n, n, row);
  }

  void adapt() {
    const Clock::time_point now = Clock::now();
    const auto took = now - last_;
    last_ = now;
    if (took < kShort) width_ = std::min(2 * width_, kWidest);
    else if (took > kLong) width_ = std::max(width_ / 2, 1);
  }

  Replay& replay_;
  DeviceProgram& program_;
  const std::atomic<bool>& dropped_;
  std::deque<std::unique_ptr<Mark>> marks_;  // closed windows, the older one first
  int open_ = 0;                             // steps, or graphs of one list, since the last mark
  int width_ = 1;
  Clock::time_point last_ = Clock::now();
};

}  // namespace

void runInWindows(Replay& replay, DeviceProgram& program, const std::atomic<bool>& dropped) {
  Windows(replay, program, dropped).run();
}

}  // namespace cuda
}  // namespace langevin
