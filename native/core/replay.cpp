// How a replay runs, step by step and list by list.
#include "replay.h"

#include <cmath>

namespace langevin {

namespace {

double scalar(const Operand& operand) {
  switch (operand.dtype) {
    case DType::f32: return *operand.as<const float>();
    case DType::i32: return *operand.as<const int32_t>();
    default: return *operand.as<const double>();
  }
}

int64_t wholeSteps(const char* call, double steps) {
  if (!(steps >= 1 && steps <= kExact && steps == std::floor(steps)))
    throw MalformedCommand(call, show(steps) + " is no number of steps, expected at least 1");
  return static_cast<int64_t>(steps);
}

}  // namespace

Replay::Replay(const char* call, std::shared_ptr<Program> program, ReplayPlan plan)
    : program_(std::move(program)),
      plan_(std::move(plan)),
      steps_(wholeSteps(call, plan_.steps)),
      walk_(*program_),
      nextValue_(plan_.values.data()) {
  program_->checkValues(call, plan_.values.data(), plan_.values.size(), steps_);
  if (plan_.reports)
    expectNumbers(call, "reports", plan_.reports->count, static_cast<double>(program_->reports.size()), steps_);
}

int64_t Replay::progress() {
  // In this order: what is done after the look is news again.
  told_.exchange(false);
  return done_.load(std::memory_order_acquire);
}

void Replay::run(CommandRunner& runner, const std::atomic<bool>& dropped) {
  const auto ends = [&] { return stopped_.load(std::memory_order_relaxed) || dropped.load(std::memory_order_relaxed); };
  while (end_.steps < steps_ && !ends()) {
    while (const Program::List* const list = walk_.next())
      if (ends() || !runList(*list, runner, dropped)) return;
    end_.steps++;
    report();
  }
}

// Whether the list ran to its end.
bool Replay::runList(const Program::List& list, CommandRunner& runner, const std::atomic<bool>& dropped) {
  for (const Program::Slot& slot : list.slots) {
    for (double* place : slot.places) *place = *nextValue_;
    nextValue_++;
  }
  const std::vector<Batch::Step>& commands = program_->batch->steps;
  for (size_t at = list.begin, count; at < list.end; at += count) {
    if (dropped.load(std::memory_order_relaxed)) return false;
    const Batch::Step* const step = commands.data() + at;
    count = groupLength(step, commands.data() + list.end);
    Failure failure = runner.run(step, count);
    if (failure.op.empty() && program_->checkFinite) failure = runner.searchOutput(step[count - 1]);
    if (!failure.op.empty()) return fail(std::move(failure), at - list.begin);
  }
  end_.lists++;
  return true;
}

bool Replay::fail(Failure failure, size_t command) {
  end_.failure = std::move(failure);
  end_.list = walk_.number();
  end_.command = command;
  return false;
}

void Replay::report() {
  const std::vector<Operand>& reports = program_->reports;
  if (plan_.reports) {
    double* const row = plan_.reports->rows + static_cast<size_t>(end_.steps - 1) * reports.size();
    for (size_t i = 0; i < reports.size(); i++) row[i] = scalar(reports[i]);
  }
  done_.store(end_.steps, std::memory_order_release);
  if (plan_.news && !told_.exchange(true)) plan_.news();
}

}  // namespace langevin
