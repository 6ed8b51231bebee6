// Kernels by name, and the contract that a kernel file is written against.
//
// A kernel file in native/cpu/kernels/ is compiled once for each instruction set and contains, in namespace
// langevin::LANGEVIN_ISA, functions `void name(Command&, Context&)` and for each of them one line at namespace scope
//
//   LANGEVIN_KERNEL("conv2d", "stride:ints,padding:ints,dilation:ints", conv2d)
//
// with the signature as ts/ops writes it. Nothing else is needed: sources are globbed. The line puts the address of a
// constant record into a section of the binary of its own, from which the registry reads all of them. No code of the file
// runs for that: a static constructor compiled for AVX-512 would stop an older processor while the addon loads.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "../cpu/isa.h"
#include "command.h"

namespace langevin {

class ThreadPool;
class ScratchMemory;

// What a kernel may use besides its command.
class Context {
 public:
  Context(ThreadPool& pool, ScratchMemory& scratch) : pool_(pool), scratch_(scratch) {}

  // Runs fn(item) for item = 0..items-1, in any order, each exactly once, possibly several at a time; returns when all are
  // done. What an item computes must follow from shapes alone, never from the number of threads.
  template <class F>
  LANGEVIN_INLINE void parallelFor(int64_t items, const F& fn) {
    run(items, [](const void* f, int64_t item) { (*static_cast<const F*>(f))(item); }, &fn);
  }

  // Uninitialised memory, 64-byte aligned, valid until the kernel returns; successive calls give distinct regions. To be
  // called from the kernel's own thread, not from items.
  float* scratch(int64_t floats);

  // Reports what only the data can show (an index out of range); may be called from items. The message is copied; the
  // first one is kept and reaches the caller, with the op's name, at the next read or synchronize.
  void fail(const char* message);

  bool failed() const { return failed_.load(); }
  const char* message() const { return message_; }

 private:
  void run(int64_t items, void (*fn)(const void*, int64_t), const void* closure);

  ThreadPool& pool_;
  ScratchMemory& scratch_;
  std::atomic<bool> failed_{false};
  char message_[160] = {};
};

using Kernel = void (*)(Command&, Context&);

// What LANGEVIN_KERNEL leaves behind.
struct KernelRecord {
  const char* name;
  const char* signature;
  const char* isa;
  Kernel run;
};

#if defined(__APPLE__)
#define LANGEVIN_KERNEL_SECTION "__DATA,lv_kernels"
#else
#define LANGEVIN_KERNEL_SECTION "langevin_kernels"
#endif

#define LANGEVIN_KERNEL(name, signature, function)                                                          \
  namespace {                                                                                               \
  constexpr ::langevin::KernelRecord LANGEVIN_JOIN(kernelRecord_, __LINE__){name, signature,                \
                                                                            LANGEVIN_ISA_NAME, function};   \
  __attribute__((section(LANGEVIN_KERNEL_SECTION), used)) const ::langevin::KernelRecord* LANGEVIN_JOIN(    \
      kernelPointer_, __LINE__) = &LANGEVIN_JOIN(kernelRecord_, __LINE__);                                  \
  }

// How an attribute is laid out in the words of a command, and what they may hold.
struct Attribute {
  enum class Kind : uint8_t { integer, real, boolean, choice, integers, seed };
  Kind kind;
  int choices = 0;  // of an enumeration
};

namespace cuda {
class Launch;
}

// What enqueues the kernels of a command on a GPU.
using Launcher = void (*)(Command&, cuda::Launch&);

// A kernel that commands may name, of the device that they are for.
struct RegisteredKernel {
  std::string name;
  std::string signature;
  std::vector<Attribute> attributes;
  Kernel run = nullptr;       // on cpu, for this processor
  Launcher launch = nullptr;  // on cuda
};

// Those of a device; the position is the op code.
using Kernels = std::vector<RegisteredKernel>;

// The kinds in a signature such as "stride:ints,dtype:float32|int32,value:float". Throws std::runtime_error.
std::vector<Attribute> parseSignature(const std::string& kernel, const std::string& signature);

// All kernels for the CPU in the best instruction set that this processor has, sorted by name; the position is the op code.
class Registry {
 public:
  // Chooses once per process. Throws std::runtime_error if LANGEVIN_ISA names a set that is unknown or missing here, or if
  // a kernel lacks a variant.
  static const Registry& get();

  // The instruction sets that kernels were compiled for, best last; whether this processor has them or not.
  static std::vector<std::string> compiled();

  const Kernels& kernels() const { return kernels_; }
  const std::string& isa() const { return isa_; }

 private:
  Registry();

  std::string isa_;
  Kernels kernels_;
};

}  // namespace langevin
