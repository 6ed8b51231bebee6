// Runs the blocks of a CUDA kernel on the host: a fiber for each thread, one warp as far as it goes before the next.
//
// Blocks are shared out among a few threads of the operating system; those of one block never leave theirs. Lanes run one
// after the other until they wait, then the warp's next lane runs, then another warp, in an order that a seed decides.
// What a GPU would answer with a hang or with wrong numbers ends the launch with a text that names kernel, block and thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace gpu {
namespace host {

// One launch, its arguments bound: `body` is what each thread runs.
struct KernelCall {
  const char* name;
  const char* launcher;  // the function that launches it
  dim3 grid, block;
  size_t sharedBytes;  // dynamic
  std::function<void()> body;
};

// How launches run from now on.
struct Schedule {
  uint64_t seed = 1;  // 0: warps and lanes in order, asynchronous copies as late as they may
  int workers = 2;    // blocks that run at the same time
};
void setSchedule(const Schedule& schedule);

// Runs all blocks. Returns what went wrong in one of them, or nothing; global memory then holds whatever it held.
std::string run(const KernelCall& call);

// Why a GPU would not even start it; null where it would.
const char* configurationProblem(const KernelCall& call);

// A place in a kernel's source.
struct Site {
  const char* file;
  int line;
};

// What a lane brings to a warp operation, and where its result goes; both lie on the stack of its fiber.
struct LaneExchange {
  const void* give;
  void* take;
};

// Computes the results of all lanes in `lanes`, once all of them have come.
using Exchange = void (*)(const LaneExchange (&lanes)[32], uint32_t mask);

// An array of shared memory declared in a kernel; each block that runs has its own copy.
class SharedArray {
 public:
  SharedArray(const char* name, size_t bytes);
  // Of the block that runs here.
  void* memory() const;

 private:
  int number_;
};

struct Block;
struct Warp;

// A CUDA thread.
struct Thread {
  dim3 index;
  unsigned number;  // within its block
  unsigned lane;
  Block* block;
  Warp* warp;
};

// The CUDA thread that runs here. Fibers do not change threads of the operating system.
extern __thread Thread* thisThread;

const dim3& blockIndex();
const dim3& blockSize();
const dim3& gridSize();
void* dynamicShared();

// __syncthreads; `vote` is added up over all threads, as __syncthreads_count does.
unsigned waitForBlock(Site site, unsigned vote);
// __syncwarp: orders memory among the lanes of the mask, which other warp operations do not.
void waitForWarp(uint32_t mask, Site site);
// Meets the lanes of `mask`, which must all come to the same operation at the same place.
void exchange(uint32_t mask, const void* give, void* take, Exchange compute, Site site);

// A copy to shared memory that lands at a moment between now and its wait that the seed decides. Until then the bytes at
// `to` are NaNs. Zeros where `from` is null.
void startCopy(void* to, const void* from, int bytes, Site site);
void closeCopyGroup();
void waitForCopies(int groups);

// Ends the launch with this text.
[[noreturn]] void fault(const std::string& what, Site site);

}  // namespace host
}  // namespace gpu
