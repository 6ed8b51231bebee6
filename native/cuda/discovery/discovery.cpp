// Asks the CUDA runtime for devices; it is linked statically, so the addon loads without a driver, too.
#include "discovery.h"

#include <stdexcept>

#include "../../core/backend.h"

#if LANGEVIN_CUDA
#include "../backend.h"
#include "../registry.h"
#include "../runtime.h"
#endif

namespace langevin {

#if LANGEVIN_CUDA

CudaState discoverCuda() {
  CudaState state;
  state.built = true;
#ifdef LANGEVIN_CUDA_ARCHITECTURES
  state.architectures = {LANGEVIN_CUDA_ARCHITECTURES};
#endif
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    // Without a driver the runtime complains of an insufficient one; version 0 tells that there is none.
    int driver = 0;
    if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0) {
      state.problem = "no NVIDIA driver is installed";
    } else if (error == cudaErrorInsufficientDriver) {
      int runtime = 0;
      cudaRuntimeGetVersion(&runtime);
      const auto show = [](int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); };
      state.problem = "the NVIDIA driver supports CUDA " + show(driver) + ", the addon was built with " + show(runtime);
    } else if (error == cudaErrorNoDevice) {
      state.problem = "no NVIDIA GPU was found";
    } else {
      state.problem = std::string("CUDA does not start: ") + cudaGetErrorString(error);
    }
    cudaGetLastError();  // or a later call would report it again
    return state;
  }
  for (int i = 0; i < count; i++) {
    cudaDeviceProp properties;
    if (const cudaError_t unreadable = cudaGetDeviceProperties(&properties, i)) {
      state.problem = "GPU " + std::to_string(i) + " cannot be looked at: " + cudaGetErrorString(unreadable) +
                      "; CUDA_VISIBLE_DEVICES chooses others";
      state.devices.clear();
      cudaGetLastError();
      return state;
    }
    state.devices.push_back({properties.name, properties.major, properties.minor, properties.totalGlobalMem,
                             properties.multiProcessorCount});
  }
  if (state.devices.empty()) state.problem = "no NVIDIA GPU was found";
  return state;
}

const Kernels& cudaKernels() { return cuda::kernels(); }

std::unique_ptr<Backend> openCuda() { return std::make_unique<cuda::CudaBackend>(); }

#else

CudaState discoverCuda() {
  CudaState state;
  state.problem = "the addon was built without CUDA";
  return state;
}

const Kernels& cudaKernels() {
  static const Kernels none;
  return none;
}

std::unique_ptr<Backend> openCuda() { throw std::runtime_error(discoverCuda().problem); }

#endif

}  // namespace langevin
