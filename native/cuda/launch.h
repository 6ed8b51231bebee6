// What a launcher may use besides its command: the contract that a file of CUDA kernels is written against.
//
// A file in native/cuda/kernels/ contains, in namespace langevin::cuda, kernels and for each op a function
// `void name(Command&, Launch&)` that checks the operands' dtypes, picks a grid and enqueues on `launch.stream()`, and one
// line at namespace scope
//
//   LANGEVIN_CUDA_KERNEL("silu", "", silu)
//
// with the signature as ts/ops writes it. Nothing else is needed: sources are globbed. A launcher runs once for each eager
// command, and once for each command of a program that no launcher before it has taken (`follower`), while that is captured into a
// graph. So it must not read device memory,
// wait or copy from the host; attributes that the op's record lists under `perStep` are read by `number`, since each launch
// of the graph gives them other values; and what only data can show goes through a `Fault`.
#pragma once

#include <cstdint>
#include <string>

#include "../core/command.h"
#include "../core/precision.h"
#include "../noise/philox.h"  // LANGEVIN_HD

#if LANGEVIN_CUDA && !LANGEVIN_CUDA_HOST
#include <cuda_runtime_api.h>
#else
#include "host/stream.h"
#endif

namespace langevin {
namespace cuda {

// A number that may differ from launch to launch of a graph, for the kernel to read.
class Number {
 public:
  // A fixed one.
  explicit Number(double value) : value_(value) {}
  // One that lies in device memory.
  explicit Number(const double* place) : place_(place) {}

  LANGEVIN_HD double real() const { return place_ == nullptr ? value_ : *place_; }
  LANGEVIN_HD int64_t integer() const { return static_cast<int64_t>(real()); }

 private:
  double value_ = 0;
  const double* place_ = nullptr;
};

// Where a kernel says that something is wrong with its data. The first one to raise it before the host looks is heard.
class Fault {
 public:
  Fault(unsigned long long* first, unsigned long long site) : first_(first), site_(site) {}

  LANGEVIN_HD void raise() const {
#if defined(__CUDA_ARCH__)
    atomicCAS(first_, 0ull, site_);
#else
    unsigned long long none = 0;
    __atomic_compare_exchange_n(first_, &none, site_, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
#endif
  }

 private:
  unsigned long long* first_;
  unsigned long long site_;
};

// Whether what runs is to leave everything as it is, because a command before it in the program raised a fault.
class Halt {
 public:
  explicit Halt(const unsigned long long* fault) : fault_(fault) {}
  LANGEVIN_HD bool now() const { return fault_ != nullptr && *fault_ != 0; }

 private:
  const unsigned long long* fault_;
};

// A command that stands behind the one that is launched, one of whose inputs is a result of what is done so far.
struct Follower {
  const std::string& op;
  const Command& command;
  int input;          // which one; -1 where elements are shared and it is none, or several
  bool resultNeeded;  // something else needs that result, too, so that it must be written as well
};

class Launch {
 public:
  virtual cudaStream_t stream() const = 0;

  // Multiprocessors of the GPU: how many blocks keep it busy.
  virtual int multiprocessors() const = 0;

  // Shared memory that a block may have: no GPU of compute capability 8.0 or more gives less.
  virtual int sharedBytes() const { return 99 << 10; }

  // What products round their operands to.
  virtual Precision precision() const { return Precision::float32; }

  // The next attribute, an int or a float.
  virtual Number number(AttributeReader& attributes) = 0;

  // What the caller is told when a kernel raises it. At most one for each command.
  virtual Fault fault(const char* problem) = 0;

  // For ops that overwrite their operands: they do nothing where it says so.
  virtual Halt halt() const = 0;

  // Uninitialised device memory, 256-byte aligned, valid until the kernels of this command are done; successive calls give
  // distinct regions.
  virtual void* scratch(size_t bytes) = 0;

  // The next command, where the launcher may do it in the same pass: it applies to `result` (what the command before it wrote, or
  // a part of that), element by element, and writes what comes out of that to the command's output. Null where there is none, as
  // behind eager commands.
  virtual const Follower* follower(const Operand& result) const {
    static_cast<void>(result);
    return nullptr;
  }

  // The same for a launcher of an element-wise command, each of whose threads does all commands one after the other on elements of
  // its own, operands and results that were written included. So any of them may be an operand.
  virtual const Follower* elementFollower() const { return nullptr; }

  // The next command, where it is of the same op and could run beside all that are launched: none needs what another one writes.
  virtual const Command* sibling() const { return nullptr; }

  // Says that the launcher does the next command. `follower` and `sibling` are then about the one after it.
  virtual void takeNext() {}

  // Ends the launcher. The problem reaches the caller with the op's name.
  [[noreturn]] static void refuse(const std::string& problem);

 protected:
  ~Launch() = default;
};

using Launcher = void (*)(Command&, Launch&);

// Notes a kernel while the addon is loaded.
struct Registration {
  Registration(const char* name, const char* signature, Launcher launch);
  const char* const name;
  const char* const signature;
  const Launcher launch;
  const Registration* const next;
};

#define LANGEVIN_CUDA_JOIN_(a, b) a##b
#define LANGEVIN_CUDA_JOIN(a, b) LANGEVIN_CUDA_JOIN_(a, b)
#define LANGEVIN_CUDA_KERNEL(name, signature, function)                                                          \
  namespace {                                                                                                    \
  const ::langevin::cuda::Registration LANGEVIN_CUDA_JOIN(kernelRegistration_, __LINE__)(name, signature, function); \
  }

}  // namespace cuda
}  // namespace langevin
