// Which CUDA devices there are, and in plain words why there are none.
#pragma once

#include <string>
#include <vector>

namespace langevin {

struct CudaDevice {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  size_t memory = 0;         // bytes
};

struct CudaState {
  bool built = false;  // whether the addon was compiled with CUDA
  std::vector<CudaDevice> devices;
  std::string problem;  // empty where there is a usable device
};

CudaState discoverCuda();

}  // namespace langevin
