// Launches on the host: at once, or on the queue of a stream (language.h).
#include "language.h"

#include <cstdio>
#include <cstdlib>

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
  if (const char* const problem = host::configurationProblem(call)) {
    lastProblem = problem;
    return;
  }
  if (stream != nullptr) return stream->enqueue(std::move(call));
  const std::string problem = host::run(call);
  if (problem.empty()) return;
  std::fprintf(stderr, "%s\n", problem.c_str());
  std::abort();
}

}  // namespace gpu
