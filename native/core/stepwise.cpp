// How a replay runs, step by step and list by list.
#include "stepwise.h"

namespace langevin {

namespace {

class Stepwise {
 public:
  Stepwise(Replay& replay, Backend& backend, const std::atomic<bool>& dropped)
      : replay_(replay), backend_(backend), dropped_(dropped), program_(replay.program()), walk_(program_) {}

  void run() {
    while (replay_.end().steps < replay_.steps() && !ends()) {
      while (const Program::List* const list = walk_.next())
        if (ends() || !runList(*list)) return;
      replay_.end().steps++;
      if (!report()) return;
    }
  }

 private:
  bool ends() const { return replay_.stopped() || dropped_.load(std::memory_order_relaxed); }

  // Whether the list ran to its end.
  bool runList(const Program::List& list) {
    for (const Program::Slot& slot : list.slots) {
      for (double* place : slot.places) *place = *nextValue_;
      nextValue_++;
    }
    const std::vector<Batch::Step>& commands = program_.batch->steps;
    for (size_t at = list.begin; at < list.end; at++) {
      if (dropped_.load(std::memory_order_relaxed)) return false;
      Failure failure = runCommand(commands[at]);
      if (!failure.op.empty()) return fail(std::move(failure), at - list.begin);
    }
    replay_.end().lists++;
    return true;
  }

  Failure runCommand(const Batch::Step& step) {
    Failure failure = backend_.run(step);
    if (failure.op.empty()) failure = backend_.finish();
    if (failure.op.empty() && program_.checkFinite) failure = backend_.searchOutput(step);
    return failure;
  }

  bool fail(Failure failure, size_t command) {
    replay_.end().failure = std::move(failure);
    replay_.end().list = walk_.number();
    replay_.end().command = command;
    return false;
  }

  bool report() {
    double* const row = replay_.reportRow(replay_.end().steps - 1);
    if (row != nullptr) {
      for (size_t i = 0; i < program_.reports.size(); i++) {
        char bytes[8] = {};
        const Operand& report = program_.reports[i];
        Failure failure = backend_.read(bytes, report.data, bytesOf(report.dtype));
        if (!failure.op.empty()) {
          replay_.end().failure = std::move(failure);
          return false;
        }
        row[i] = scalar(bytes, report.dtype);
      }
    }
    replay_.tell(replay_.end().steps);
    return true;
  }

  static double scalar(const char* bytes, DType dtype) {
    switch (dtype) {
      case DType::f32: return load<float>(bytes);
      case DType::i32: return load<int32_t>(bytes);
      default: return load<double>(bytes);
    }
  }

  template <class T>
  static T load(const char* bytes) {
    T value;
    __builtin_memcpy(&value, bytes, sizeof value);
    return value;
  }

  Replay& replay_;
  Backend& backend_;
  const std::atomic<bool>& dropped_;
  Program& program_;
  StepWalk walk_;
  const double* nextValue_ = replay_.values().data();
};

}  // namespace

void runStepwise(Replay& replay, Backend& backend, const std::atomic<bool>& dropped) {
  Stepwise(replay, backend, dropped).run();
}

}  // namespace langevin
