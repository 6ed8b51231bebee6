// How kernels reach the pool and scratch memory, and tell what is wrong with their data.
#include <cstring>

#include "../core/registry.h"
#include "../core/scratch.h"
#include "thread_pool.h"

namespace langevin {

float* Context::scratch(int64_t floats) {
  return static_cast<float*>(scratch_.take(static_cast<size_t>(floats) * sizeof(float)));
}

void Context::run(int64_t items, void (*fn)(const void*, int64_t), const void* closure) {
  pool_.run(items, fn, closure);
}

void Context::fail(const char* message) {
  if (failed_.exchange(true)) return;
  std::strncpy(message_, message, sizeof message_ - 1);
}

}  // namespace langevin
