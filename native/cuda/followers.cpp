// What may follow on a command in one pass.
#include "followers.h"

#include "../core/early_write.h"
#include "../core/extent.h"

namespace langevin {
namespace cuda {

namespace {

// The only input that touches this result and coincides with it; -1: there is none.
int inputFrom(const Command& command, const Operand& result) {
  int found = -1;
  for (int i = 0; i < command.inputCount; i++) {
    const Operand& input = command.inputs[i];
    if (!input.present() || !overlap(input, result)) continue;
    if (found >= 0 || !coincide(input, result)) return -1;
    found = i;
  }
  return found;
}

}  // namespace

Followers::Followers(const Program& program, const ChangingNumbers& numbers, size_t at, size_t end)
    : program_(program), numbers_(numbers), first_(at), end_(end), at_(at) {}

const Command& Followers::take() { return command(++at_); }

bool Followers::isCandidate() const {
  return position() < end_ && !hasChangingNumbers(position()) && command(at_).output.present() &&
         command(position()).output.present();
}

const Follower* Followers::next(const Operand& result) {
  if (!isCandidate() || !mayWriteEarly(*program_.batch, first_, position())) return nullptr;
  const Operand& output = command(position()).output;
  const int input = inputFrom(command(position()), result);
  if (input < 0 || (overlap(output, result) && !coincide(output, result))) return nullptr;
  return follow(input, result);
}

const Follower* Followers::nextOfElements() {
  if (!isCandidate() || !mayShareElements(*program_.batch, first_, position()) || !usesSomeResult()) return nullptr;
  const Operand& result = command(at_).output;
  return follow(inputFrom(command(position()), result), result);
}

const Follower* Followers::follow(int input, const Operand& result) {
  const bool resultNeeded = !coincide(command(position()).output, result) && !isOverAfter(result, position());
  next_.emplace(Follower{program_.batch->steps[position()].kernel->name, command(position()), input, resultNeeded});
  return &*next_;
}

const Command* Followers::sibling() const {
  const Batch& batch = *program_.batch;
  const bool isOne = isCandidate() && batch.steps[position()].kernel == batch.steps[first_].kernel;
  return isOne && mayRunBeside(batch, first_, position()) ? &command(position()) : nullptr;
}

// Commands that do not need each other better run beside each other.
bool Followers::usesSomeResult() const {
  const Command& next = command(position());
  for (size_t at = first_; at <= at_; at++)
    for (int i = 0; i < next.inputCount; i++)
      if (next.inputs[i].present() && overlap(next.inputs[i], command(at).output)) return true;
  return false;
}

bool Followers::hasChangingNumbers(size_t at) const {
  const Batch& batch = *program_.batch;
  const size_t begin = batch.steps[at].attributes;
  const size_t end = at + 1 < batch.steps.size() ? batch.steps[at + 1].attributes : batch.words.size();
  return numbers_.within(batch.words.data() + begin, batch.words.data() + end) > 0;
}

// Whether nothing needs a result any more once `reader` has run.
bool Followers::isOverAfter(const Operand& result, size_t reader) const {
  const int64_t writer = static_cast<int64_t>(at_);
  bool found = false;
  for (const Program::Temporary& memory : program_.temporaries) {
    if (writer < memory.start || writer > memory.end) continue;
    if (!overlap(memory.data, memory.bytes, addressOf(result), extentOf(result))) continue;
    if (memory.end > static_cast<int64_t>(reader) && isUsedBeside(memory, result, reader)) return false;
    found = true;
  }
  return found;
}

// Whether a command besides those of one pass, which ends with `reader`, uses the memory where a result lies. That may be there
// for longer than it is needed.
bool Followers::isUsedBeside(const Program::Temporary& memory, const Operand& result, size_t reader) const {
  for (size_t at = static_cast<size_t>(memory.start); at <= static_cast<size_t>(memory.end); at++) {
    if (at >= first_ && at <= reader) continue;
    const Command& command = program_.batch->steps[at].command;
    if (command.output.present() && overlap(command.output, result)) return true;
    for (int i = 0; i < command.inputCount; i++)
      if (command.inputs[i].present() && overlap(command.inputs[i], result)) return true;
  }
  return false;
}

}  // namespace cuda
}  // namespace langevin
