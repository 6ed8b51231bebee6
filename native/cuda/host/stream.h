// What a stream is where kernels run on the host: a place that launches are handed to. The stand-in for the CUDA runtime
// (runtime.h) has streams that wait, record and fail; without it there is no stream, and a launch runs at once.
#pragma once

#include <functional>
#include <utility>

namespace langevin {
namespace cuda {
namespace host {

// What a launch asks for, as the runtime checks it.
struct LaunchShape {
  unsigned grid[3];
  unsigned block[3];
  size_t sharedBytes;
};

class Stream {
 public:
  virtual void launch(const LaunchShape& shape, std::function<void()> work) = 0;

 protected:
  ~Stream() = default;
};

}  // namespace host
}  // namespace cuda
}  // namespace langevin

using cudaStream_t = langevin::cuda::host::Stream*;
