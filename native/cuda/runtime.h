// The CUDA runtime, or the stand-in for it that tests build with.
#pragma once

#if LANGEVIN_CUDA_HOST
#include "host/runtime.h"
#else
#include <cuda_runtime_api.h>
#endif
