// Functions that enqueue CUDA kernels, for host code that is not compiled by nvcc.
#pragma once

#include <cuda_runtime_api.h>

namespace langevin {
namespace cuda {

struct DdpmStep;

// Each returns why the launch failed, or null.
const char* launchDdpmStep(const DdpmStep& step, cudaStream_t stream);

}  // namespace cuda
}  // namespace langevin
