// The CUDA kernels by name.
#pragma once

#include "../core/registry.h"

namespace langevin {
namespace cuda {

// Sorted by name. Throws std::runtime_error if one is registered twice or its signature is none.
const Kernels& kernels();

}  // namespace cuda
}  // namespace langevin
