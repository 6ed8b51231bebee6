// How kernels reach the pool, scratch memory and what follows on them, and tell what is wrong with their data.
#include <cstring>
#include <stdexcept>

#include "../core/registry.h"
#include "../core/scratch.h"
#include "parts.h"
#include "thread_pool.h"

namespace langevin {

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

}  // namespace langevin
