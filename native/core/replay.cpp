// What a replay keeps of its progress.
#include "replay.h"

#include <cmath>

namespace langevin {

namespace {

int64_t wholeSteps(const char* call, double steps) {
  if (!(steps >= 1 && steps <= kExact && steps == std::floor(steps)))
    throw MalformedCommand(call, show(steps) + " is no number of steps, expected at least 1");
  return static_cast<int64_t>(steps);
}

}  // namespace

Replay::Replay(const char* call, std::shared_ptr<Program> program, ReplayPlan plan)
    : program_(std::move(program)), plan_(std::move(plan)), steps_(wholeSteps(call, plan_.steps)) {
  program_->checkValues(call, plan_.values.data(), plan_.values.size(), steps_);
  if (plan_.reports)
    expectNumbers(call, "reports", plan_.reports->count, static_cast<double>(program_->reports.size()), steps_);
}

int64_t Replay::progress() {
  // In this order: what is done after the look is news again.
  told_.exchange(false);
  return done_.load(std::memory_order_acquire);
}

double* Replay::reportRow(int64_t step) const {
  return plan_.reports ? plan_.reports->rows + static_cast<size_t>(step) * program_->reports.size() : nullptr;
}

void Replay::tell(int64_t steps) {
  done_.store(steps, std::memory_order_release);
  if (plan_.news && !told_.exchange(true)) plan_.news();
}

}  // namespace langevin
