// One replay of a program: a backend runs it, while the owner's thread may stop it and ask how far it is.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "backend.h"
#include "program.h"

namespace langevin {

// How often a program runs, and what is given to it and told of it.
struct ReplayPlan {
  // [steps, program.reports]; must stay alive until the end.
  struct Reports {
    double* rows;
    size_t count;
  };

  double steps = 1;
  std::vector<double> values;  // of slots, in the order in which lists run
  std::optional<Reports> reports;
  // Called on the queue's thread once there are news, and not again before `progress` has asked for them.
  std::function<void()> news;
};

// Where a replay ended. The place is that of the command that failed.
struct ReplayEnd {
  int64_t steps = 0;
  int64_t lists = 0;
  Failure failure;
  size_t list = 0;
  size_t command = 0;
};

class Replay {
 public:
  // Throws MalformedCommand, in the name of `call`, for a plan that does not fit the program.
  Replay(const char* call, std::shared_ptr<Program> program, ReplayPlan plan);

  // Ends the replay before its next list, or within the steps that a backend hands over at a time. From any thread.
  void stop() { stopped_.store(true, std::memory_order_relaxed); }

  // Steps whose reports are there. From the owner's thread.
  int64_t progress();

  // For the backend.
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }
  Program& program() const { return *program_; }
  int64_t steps() const { return steps_; }
  const std::vector<double>& values() const { return plan_.values; }
  // Where the reports of a step belong; null where nobody wants them.
  double* reportRow(int64_t step) const;
  // So many steps are complete, and their reports are there.
  void tell(int64_t steps);

  // To be filled by the backend, and to be read once that is done with the replay.
  ReplayEnd& end() { return end_; }

  // Bytes that it holds.
  size_t size() const { return sizeof *this + plan_.values.size() * sizeof(double); }

 private:
  const std::shared_ptr<Program> program_;
  const ReplayPlan plan_;
  const int64_t steps_;
  ReplayEnd end_;
  std::atomic<bool> stopped_{false};
  std::atomic<int64_t> done_{0};
  std::atomic<bool> told_{false};  // news that nobody has asked for yet
};

}  // namespace langevin
