// Compiles the fused DDPM step for the GPUs of the build.
#include "ddpm_step.cuh"

#include "../launch.h"

namespace langevin {
namespace cuda {

const char* launchDdpmStep(const DdpmStep& step, cudaStream_t stream) { return runDdpmStep(step, stream); }

}  // namespace cuda
}  // namespace langevin
