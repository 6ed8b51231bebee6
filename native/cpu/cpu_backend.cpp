// How kernels run on the pool, how their exceptions end, and what searches results.
#include "cpu_backend.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <new>

#include "../core/finite.h"
#include "../core/stepwise.h"
#include "processors.h"

namespace langevin {

namespace {

constexpr int64_t kSearchItem = 1 << 16;  // elements: some microseconds of work for a thread

}  // namespace

Failure CpuBackend::run(const Batch::Step& step) {
  const std::string& op = step.kernel->name;
  Command command = step.command;  // a kernel reads its attributes away
  Context context(pool_, scratch_);
  Failure failure;
  try {
    step.kernel->run(command, context);
    if (context.failed()) failure = {op, context.message()};
  } catch (const std::bad_alloc&) {
    failure = {op, "out of memory"};
  } catch (const std::exception& error) {
    failure = {op, error.what()};
  }
  scratch_.reset();
  return failure;
}

// The row with the first number that is not finite; a dense operand counts as one row.
int64_t CpuBackend::firstSuspect(const Operand& operand) {
  const float* const x = operand.as<const float>();
  if (!operand.dense()) {
    for (int64_t row = 0; row < operand.rows(); row++)
      if (someNotFinite(x + row * operand.pitch, operand.cols())) return row;
    return kAllFinite;
  }
  const int64_t size = operand.size();
  std::atomic<bool> found{false};
  const auto search = [&](int64_t item) {
    const int64_t start = item * kSearchItem;
    if (someNotFinite(x + start, std::min(kSearchItem, size - start))) found.store(true);
  };
  Context context(pool_, scratch_);
  context.parallelFor((size + kSearchItem - 1) / kSearchItem, search);
  return found.load() ? 0 : kAllFinite;
}

Failure CpuBackend::searchOutput(const Batch::Step& step) {
  const Operand& output = step.command.output;
  if (!output.present() || output.dtype != DType::f32) return {};
  const int64_t row = firstSuspect(output);
  return row == kAllFinite ? Failure{} : notFinite(step.kernel->name, output, row);
}

Failure CpuBackend::replay(const std::shared_ptr<Replay>& replay, bool, const std::atomic<bool>& dropped) {
  runStepwise(*replay, *this, dropped);
  return replay->end().failure;
}

Failure CpuBackend::write(void* target, const void* source, size_t bytes) {
  if (bytes > 0) std::memcpy(target, source, bytes);
  return {};
}

Failure CpuBackend::read(void* target, const void* source, size_t bytes) { return write(target, source, bytes); }

std::unique_ptr<Backend> openCpu(int threads) {
  Registry::get();  // or the first command would be the one to fail
  return std::make_unique<CpuBackend>(threads > 0 ? threads : availableProcessors());
}

}  // namespace langevin
