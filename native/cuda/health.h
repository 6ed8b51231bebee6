// Whether the CUDA context still works, and errors of the runtime as failures in plain words.
#pragma once

#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>

#include "../core/failure.h"
#include "runtime.h"

namespace langevin {
namespace cuda {

// A call of the runtime that failed. What it found may come from work long before it.
struct CudaError : std::runtime_error {
  CudaError(cudaError_t code, const std::string& problem) : std::runtime_error(problem), code(code) {}
  cudaError_t code;
};

// Throws CudaError, and forgets the error where the runtime would report it again.
void check(cudaError_t error, const char* doing);

// An error in a kernel or a transfer ends the context of the whole process. It is told once with all that is known; from
// then on every call fails with a short word about it, and none reaches the device.
class Health {
 public:
  // Throws std::runtime_error once the context is broken.
  void demand() const;

  // What a caller is told of an error that came up while `op` was dealt with.
  Failure failure(const CudaError& error, const std::string& op);

  bool broken() const { return broken_.load(std::memory_order_acquire); }

 private:
  std::string cause() const;

  std::atomic<bool> broken_{false};
  mutable std::mutex mutex_;
  std::string cause_;
};

}  // namespace cuda
}  // namespace langevin
