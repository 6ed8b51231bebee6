// How kernels reach the pool, scratch memory and what follows on them, how their exceptions end, and the search for numbers that are not finite.
#include "runner.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>

#include "parts.h"

namespace langevin {

namespace {

constexpr uint32_t kExponent = 0x7f800000;  // all of it set: infinity or NaN
constexpr int64_t kSearchItem = 1 << 16;    // elements: some microseconds of work for a thread
constexpr int64_t kAllFinite = -1;

bool someNotFinite(const float* x, int64_t n) {
  uint32_t found = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    found |= (bits & kExponent) == kExponent;
  }
  return found != 0;
}

// Position of the first number of a row that is not finite.
int64_t firstNotFinite(const float* x, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (someNotFinite(x + i, 1)) return i;
  return kAllFinite;
}

Failure failureOf(const std::string& op, const Context& context) {
  if (!context.failed()) return {};
  return {context.failedOp() == nullptr ? op : context.failedOp(), context.message()};
}

std::string listOf(const int64_t* numbers, int count) {
  std::string text = "[";
  for (int i = 0; i < count; i++) text += (i > 0 ? ", " : "") + std::to_string(numbers[i]);
  return text + "]";
}

}  // namespace

float* Context::scratch(int64_t floats) {
  if (scratch_ == nullptr) throw std::logic_error("an op on a part has no scratch memory");
  return static_cast<float*>(scratch_->take(static_cast<size_t>(floats) * sizeof(float)));
}

void Context::run(int64_t items, void (*fn)(const void*, int64_t), const void* closure) {
  if (pool_ != nullptr) return pool_->run(items, fn, closure);
  for (int64_t item = 0; item < items; item++) fn(closure, item);
}

bool Context::finishesParts(int64_t unit, bool wholeRows) {
  if (followers_ == nullptr || !followers_->fit(unit, wholeRows)) return false;
  taken_ = followers_;
  followers_ = nullptr;
  return true;
}

void Context::finish(int64_t firstRow, int64_t rows, int64_t firstColumn, int64_t columns) {
  taken_->run(firstRow, rows, firstColumn, columns, *this);
}

void Context::fail(const char* message) {
  if (outer_ != nullptr) outer_->fail(op_, message);
  else fail(nullptr, message);
}

void Context::fail(const char* op, const char* message) {
  if (failed_.exchange(true)) return;
  op_ = op;
  std::strncpy(message_, message, sizeof message_ - 1);
}

size_t groupLength(const Batch::Step* step, const Batch::Step* end) {
  size_t length = 1;
  while (step + length < end && step[length].part.role == PartRule::Role::joined) length++;
  return length;
}

Failure CommandRunner::run(const Batch::Step* steps, size_t count) {
  const Batch::Step& step = steps[0];
  std::string op = step.kernel->name;
  Failure failure;
  try {
    if (step.part.role == PartRule::Role::partwise) {
      Context context(pool_, scratch_);
      Parts(steps, count).runAll(context);
      failure = failureOf(op, context);
    } else if (count > 1) {
      const Parts followers(steps + 1, count - 1);
      Context context(pool_, scratch_, &followers);
      Command command = step.command;
      step.kernel->run(command, context);
      if (context.followers() != nullptr) followers.runAll(context);
      failure = failureOf(op, context);
    } else {
      Context context(pool_, scratch_);
      Command command = step.command;  // a kernel reads its attributes away
      step.kernel->run(command, context);
      failure = failureOf(op, context);
    }
  } catch (const std::bad_alloc&) {
    failure = {op, "out of memory"};
  } catch (const std::exception& error) {
    failure = {op, error.what()};
  }
  scratch_.reset();
  return failure;
}

// The row with the first number that is not finite; a dense operand counts as one row.
int64_t CommandRunner::firstSuspect(const Operand& operand) {
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

Failure CommandRunner::searchOutput(const Batch::Step& step) {
  const Operand& output = step.command.output;
  if (!output.present() || output.dtype != DType::f32) return {};
  const int64_t row = firstSuspect(output);
  if (row == kAllFinite) return {};
  const float* const x = output.as<const float>() + row * output.pitch;
  const int64_t column = firstNotFinite(x, output.dense() ? output.size() : output.cols());
  int64_t place[kMaxRank] = {};
  int64_t rest = row * output.cols() + column;
  for (int i = output.rank - 1; i >= 0; i--) {
    place[i] = rest % output.shape[i];
    rest /= output.shape[i];
  }
  const char* const value = x[column] != x[column] ? "NaN" : x[column] > 0 ? "Infinity" : "-Infinity";
  return {step.kernel->name, "element " + listOf(place, output.rank) + " of the result (shape " +
                                 listOf(output.shape, output.rank) + ") is " + value};
}

}  // namespace langevin
