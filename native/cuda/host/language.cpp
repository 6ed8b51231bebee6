// Launches on the host: at once, or on the queue of a stream (language.h).
#include "language.h"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace gpu {

namespace {
thread_local const char* lastProblem = nullptr;
}

const char* launchProblem() {
  const char* const problem = lastProblem;
  lastProblem = nullptr;
  return problem;
}

void dispatch(Stream stream, host::KernelCall call) {
  if (stream != nullptr) {
    const dim3 grid = call.grid, block = call.block;
    stream->launch({{grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, call.sharedBytes}, [call = std::move(call)] {
      const std::string problem = host::run(call);
      if (!problem.empty()) throw std::runtime_error(problem);
    });
    return;
  }
  lastProblem = host::configurationProblem(call);
  if (lastProblem != nullptr) return;
  const std::string problem = host::run(call);
  if (problem.empty()) return;
  std::fprintf(stderr, "%s\n", problem.c_str());
  std::abort();
}

}  // namespace gpu
