// Activations that other kernels apply to what they have just computed.
#pragma once

#include "../gpu.h"

namespace langevin {
namespace cuda {

enum class Activation { none, silu };

__device__ __forceinline__ float logistic(float u) { return gpu::divide(1.0f, 1.0f + expf(-u)); }

}  // namespace cuda
}  // namespace langevin
