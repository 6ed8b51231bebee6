// Tells errors that a call may survive from those that end the context.
#include "health.h"

namespace langevin {
namespace cuda {

namespace {

// Errors of one call, which leave the context as it was.
bool survivable(cudaError_t code) {
  switch (code) {
    case cudaErrorInvalidValue:
    case cudaErrorMemoryAllocation:
    case cudaErrorInvalidConfiguration:
#if !LANGEVIN_CUDA_HOST
    case cudaErrorLaunchOutOfResources:
    case cudaErrorInvalidDeviceFunction:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
#endif
      return true;
    default: return false;
  }
}

}  // namespace

void check(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return;
  cudaGetLastError();
  throw CudaError(error, std::string(doing) + ": " + cudaGetErrorString(error));
}

std::string Health::cause() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return cause_;
}

void Health::demand() const {
  if (broken())
    throw std::runtime_error("the CUDA context is broken since an earlier error (" + cause() + "); start a new process");
}

Failure Health::failure(const CudaError& error, const std::string& op) {
  if (survivable(error.code)) return {op, error.what()};
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!broken_.exchange(true)) cause_ = op + ": " + cudaGetErrorString(error.code);
  }
  return {op, std::string(error.what()) +
                  ". Work runs behind the calls that ask for it, so that the fault may lie in a command before; run with "
                  "CUDA_LAUNCH_BLOCKING=1 to learn which. The CUDA context is broken: nothing runs on the device any "
                  "more in this process"};
}

}  // namespace cuda
}  // namespace langevin
