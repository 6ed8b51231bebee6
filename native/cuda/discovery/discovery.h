// Which CUDA devices there are, and in plain words why there are none.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../../core/registry.h"

namespace langevin {

class Backend;

struct CudaDevice {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  size_t memory = 0;         // bytes
  int multiprocessors = 0;
};

struct CudaState {
  bool built = false;  // whether the addon was compiled with CUDA
  // Compute capabilities, times ten, for which there is machine code; none is told of kernels that run on the host.
  std::vector<int> architectures;
  std::vector<CudaDevice> devices;
  std::string problem;  // empty where there is a usable device
};

CudaState discoverCuda();

// The kernels that were compiled for CUDA, by op code.
const Kernels& cudaKernels();

// The backend of the first device. Throws std::runtime_error in plain words where it cannot be used.
std::unique_ptr<Backend> openCuda();

}  // namespace langevin
