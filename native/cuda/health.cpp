// Tells errors that a call may survive from those that end the context.
#include "health.h"

namespace langevin {
namespace cuda {

namespace {

// Errors after which the process must end if it is to use the GPU again (CUDA Runtime API, cudaError). Others are one call's.
bool breaksContext(cudaError_t code) {
  switch (code) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
#if !LANGEVIN_CUDA_HOST
    case cudaErrorCudartUnloading:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorUnknown:
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
  if (!breaksContext(error.code)) return {op, error.what()};
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
