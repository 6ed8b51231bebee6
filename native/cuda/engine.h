// What commands are launched with: the stream of a device, its memory for the way and for kernels, and its health.
#pragma once

#include <array>
#include <string>
#include <unordered_map>

#include "../core/decode.h"
#include "branches.h"
#include "launch.h"
#include "memory.h"

namespace langevin {
namespace cuda {

// A place from which a fault may be raised. Those of a program know their command.
struct FaultSite {
  Failure failure;
  size_t list = 0;
  size_t command = 0;
};

// Where the attributes of a program's commands lie in device memory that change from step to step.
struct ChangingNumbers {
  std::unordered_map<const double*, const double*> places;  // by the attribute's word

  // How many of them lie in [begin, end).
  size_t within(const double* begin, const double* end) const;
};

class Followers;

// What a launch belongs to besides its command: an eager one, or one of a program.
struct LaunchContext {
  const ChangingNumbers* numbers;      // null where all attributes are fixed
  unsigned long long* fault;           // in device memory
  bool haltsOnFault;                   // what overwrites its operands stops there
  std::vector<FaultSite>* sites;       // those so far; a site's number is its position plus 1
  Precision precision = Precision::float32;
  Followers* followers = nullptr;      // on a command of a program
  Branches* branches = nullptr;        // null where commands run one after the other
};

// Belongs to the queue's thread, or to the owner's while nothing is queued.
class Engine {
 public:
  Engine(cudaStream_t stream, int multiprocessors, size_t sharedBytes)
      : stream(stream), multiprocessors(multiprocessors), sharedBytes(sharedBytes), staging(stream) {}

  // Throws std::runtime_error.
  void launch(const Batch::Step& step, const double* attributesEnd, const LaunchContext& context);

  const cudaStream_t stream;
  const int multiprocessors;
  const size_t sharedBytes;  // that a block may have
  Health health;
  Staging staging;
  std::array<Scratch, Branches::kLanes> scratch;
};

}  // namespace cuda
}  // namespace langevin
