// Fibers, barriers, shared memory and asynchronous copies of the blocks that run on the host (machine.h).
//
// Under the thread sanitizer each CUDA thread is a thread to the sanitizer, too, and switching between them orders
// nothing: only barriers do. What this file itself touches is kept from it (UNSEEN), except asynchronous copies, which it
// should see as accesses of the thread that started them.
#include "machine.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "../shared_limits.h"
#include "switch.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define UNSEEN __attribute__((no_sanitize("thread"), noinline))
// Of the sanitizer's library; in none of its headers.
extern "C" void AnnotateIgnoreReadsBegin(const char* file, int line);
extern "C" void AnnotateIgnoreReadsEnd(const char* file, int line);
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#else
#define UNSEEN
#endif

namespace gpu {
namespace host {

__thread Thread* thisThread = nullptr;

namespace {

constexpr unsigned kMaxThreads = 1024, kLanes = 32, kMaxWarps = kMaxThreads / kLanes;
constexpr size_t kMaxSharedBytes = 227 * 1024;  // of a block on sm_90
constexpr size_t kStack = 256 * 1024;           // sanitizers make frames large
constexpr size_t kLastFrames = 8 * 1024;        // that may lie on a stack when its thread ends
constexpr size_t kGuard = 256;                  // bytes before and behind shared arrays
constexpr int kMaxSharedArrays = 4096;          // instances of kernel templates count
constexpr int kMaxCopies = 512;                 // of one thread under way
constexpr unsigned char kPoison = 0xFF;         // a NaN in bf16, float32 and float64
constexpr unsigned char kGuardByte = 0xA5;

// Names for what orders memory, as the thread sanitizer sees it.
void acquire([[maybe_unused]] void* object) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(object);
#endif
}
void release([[maybe_unused]] void* object) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(object);
#endif
}

// While it lives, the thread sanitizer does not look: for work that is no CUDA thread's own.
class Unseen {
 public:
#if defined(__SANITIZE_THREAD__)
  Unseen() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__), AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
  ~Unseen() { AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
#else
  Unseen() {}
#endif
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};

void poisonAddresses([[maybe_unused]] const void* from, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(from, bytes);
#endif
}
void unpoisonAddresses([[maybe_unused]] const void* from, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(from, bytes);
#endif
}

// The declared arrays of all kernels. Read without a lock: entries are there before a kernel can use them.
struct Declaration {
  const char* name;
  size_t bytes;
};
Declaration declarations[kMaxSharedArrays];
std::atomic<int> declarationCount{0};

std::mutex scheduleMutex;
Schedule theSchedule;

enum class State : uint8_t { ready, atBarrier, inWarp, exited };

struct Copy {
  void* to;
  const void* from;
  int bytes;
  int group;
  Site site;
};

// A stack and what the sanitizers know of it.
struct Stack {
  char* bottom = nullptr;
  size_t size = 0;
  void* saved = nullptr;
  void* fake = nullptr;      // address sanitizer
  void* identity = nullptr;  // thread sanitizer
};

size_t pageSize() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

void makeStack(Stack& stack) {
  // The lowest page stays closed: a stack that overflows stops there.
  const size_t bytes = kStack + pageSize();
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, pageSize(), PROT_NONE) != 0) {
    std::fprintf(stderr, "no memory for the stack of a CUDA thread on the host (%zu bytes)\n", bytes);
    std::abort();
  }
  stack.bottom = static_cast<char*>(memory) + pageSize();
  stack.size = kStack;
#if defined(__SANITIZE_THREAD__)
  stack.identity = __tsan_create_fiber(0);
#endif
}

void freeStack(Stack& stack) {
  unpoisonAddresses(stack.bottom, stack.size);
#if defined(__SANITIZE_THREAD__)
  __tsan_destroy_fiber(stack.identity);
#endif
  munmap(stack.bottom - pageSize(), stack.size + pageSize());
}

}  // namespace

// A warp operation that some of its lanes wait for.
struct Meeting {
  uint32_t mask, arrived;
  Exchange compute;
  Site site;
  LaneExchange lanes[kLanes];
};

struct Warp {
  uint32_t existing = 0, ready = 0;
  int meetings = 0;
  Meeting meeting[kLanes];
  unsigned generation = 0;  // of __syncwarp
  char order[2];            // that the thread sanitizer sees
};

namespace {

struct Fiber : Thread {
  State state;
  Site site;
  Stack stack;
  int copies, copyGroup;
  Copy copy[kMaxCopies];

  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber() {
    if (stack.bottom != nullptr) freeStack(stack);
  }
};

// Guarded memory: NaNs to begin with, red zones around it.
class GuardedMemory {
 public:
  explicit GuardedMemory(size_t bytes) : bytes_(bytes), padded_((bytes + 127) / 128 * 128) {
    memory_ = static_cast<unsigned char*>(std::aligned_alloc(128, padded_ + 2 * kGuard));
    if (memory_ == nullptr) std::abort();
    std::memset(memory_, kGuardByte, padded_ + 2 * kGuard);
    poisonAddresses(memory_, kGuard);
    poisonAddresses(data() + bytes_, padded_ - bytes_ + kGuard);
  }
  ~GuardedMemory() {
    unpoisonAddresses(memory_, padded_ + 2 * kGuard);
    std::free(memory_);
  }
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  UNSEEN unsigned char* data() const { return memory_ + kGuard; }
  size_t bytes() const { return bytes_; }

  UNSEEN void forget() const { std::memset(data(), kPoison, bytes_); }

  // Whether nobody wrote around it. The address sanitizer has seen such writes as they happened.
  UNSEEN bool intact() const {
#if !defined(__SANITIZE_ADDRESS__)
    for (const unsigned char* p = memory_; p < data(); p++)
      if (*p != kGuardByte) return false;
    for (const unsigned char* p = data() + bytes_; p < data() + padded_ + kGuard; p++)
      if (*p != kGuardByte) return false;
#endif
    return true;
  }

 private:
  size_t bytes_, padded_;
  unsigned char* memory_;
};

}  // namespace

// A place where one block runs at a time, with the memory for it. Kept from launch to launch.
struct Block {
  const KernelCall* call = nullptr;
  dim3 index;
  unsigned threads = 0, warps = 0;
  unsigned exited = 0, waiting = 0;
  unsigned votes = 0, lastVotes = 0;
  unsigned phase = 0;  // barriers so far
  unsigned warp = 0;   // that runs
  unsigned turn = 0;   // which lane of a warp goes first
  bool descending = false;
  uint64_t random = 0;
  std::string problem;
  Stack outside;
  bool leftOutside = false;
  char barrier[2], start, end;  // that the thread sanitizer sees
  Warp warpStates[kMaxWarps];
  std::unique_ptr<Fiber[]> fibers{new Fiber[kMaxThreads]};
  GuardedMemory* shared[kMaxSharedArrays] = {};
  bool declared[kMaxSharedArrays] = {};  // by the kernel that runs
  GuardedMemory* dynamic = nullptr;

  Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() {
    for (GuardedMemory* array : shared) delete array;
  }
};

namespace {

Fiber& running() { return *static_cast<Fiber*>(thisThread); }

// splitmix64 (Steele et al. 2014): blocks draw from streams of their own, so that results do not depend on workers.
UNSEEN uint64_t draw(Block& block) {
  uint64_t z = block.random += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

UNSEEN bool seeded(const Block& block) { return block.random != 0; }

UNSEEN void switchTo(Block& block, Stack& from, Stack& to, [[maybe_unused]] bool forGood) {
  block.leftOutside = &from == &block.outside;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(forGood ? nullptr : &from.fake, to.bottom, to.size);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to.identity, __tsan_switch_to_fiber_no_sync);
#endif
  switchStacks(&from.saved, to.saved);
}

// The first thing to do on a stack that was switched to.
UNSEEN void arriveOn([[maybe_unused]] Block& block, [[maybe_unused]] Stack& stack) {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  size_t size = 0;
  __sanitizer_finish_switch_fiber(stack.fake, &bottom, &size);
  if (block.leftOutside) {
    block.outside.bottom = static_cast<char*>(const_cast<void*>(bottom));
    block.outside.size = size;
  }
  block.leftOutside = false;
#endif
}

UNSEEN unsigned firstLane(const Block& block, uint32_t ready) {
  const unsigned turn = block.turn;
  const uint32_t turned = turn == 0 ? ready : ready >> turn | ready << (kLanes - turn);
  const int first = block.descending ? 31 - __builtin_clz(turned) : __builtin_ctz(turned);
  return (static_cast<unsigned>(first) + turn) % kLanes;
}

std::string text(const dim3& at) {
  return "(" + std::to_string(at.x) + "," + std::to_string(at.y) + "," + std::to_string(at.z) + ")";
}

std::string text(Site site) {
  const char* const slash = std::strrchr(site.file, '/');
  return std::string(slash == nullptr ? site.file : slash + 1) + ":" + std::to_string(site.line);
}

bool same(Site a, Site b) { return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0); }

std::string whereabouts(const Block& block) {
  return std::string(block.call->name) + ", launched by " + block.call->launcher + ", block " + text(block.index);
}

std::string doing(const Fiber& fiber) {
  switch (fiber.state) {
    case State::atBarrier:
      return "at __syncthreads in " + text(fiber.site);
    case State::inWarp:
      return "at a warp operation in " + text(fiber.site);
    case State::exited:
      return "returned";
    default:
      return "ready";
  }
}

// Runs of threads that do the same.
std::string whatAllDo(const Block& block) {
  std::string all;
  for (unsigned i = 0; i < block.threads;) {
    const std::string what = doing(block.fibers[i]);
    unsigned end = i + 1;
    while (end < block.threads && doing(block.fibers[end]) == what) end++;
    all += "\n  threads " + std::to_string(i) + " to " + std::to_string(end - 1) + ": " + what;
    i = end;
  }
  return all;
}

[[noreturn]] UNSEEN void abandon(Block& block, const std::string& problem) {
  block.problem = problem;
  release(&block.end);
  Stack& stack = running().stack;
  switchTo(block, stack, block.outside, true);
  std::abort();
}

// Everybody waits: either all at the same barrier, or for each other.
UNSEEN void openBarrier(Block& block) {
  bool uniform = block.waiting == block.threads;
  for (unsigned i = 0; uniform && i < block.threads; i++) uniform = same(block.fibers[i].site, block.fibers[0].site);
  if (!uniform)
    abandon(block, whereabouts(block) + ": " +
                       (block.waiting > 0 ? "divergent barrier" : "deadlock") + ", nobody can go on:" + whatAllDo(block));
  block.waiting = 0;
  block.phase++;
  block.lastVotes = block.votes;
  block.votes = 0;
  for (unsigned i = 0; i < block.threads; i++) block.fibers[i].state = State::ready;
  for (unsigned w = 0; w < block.warps; w++) block.warpStates[w].ready = block.warpStates[w].existing;
}

// Gives the processor to the next thread that can run; returns when this one's turn has come again.
UNSEEN void yield(Block& block, bool forGood) {
  Fiber& self = running();
  uint32_t ready = block.warpStates[block.warp].ready;
  if (ready == 0) {
    // Another warp: any of those that can run.
    const unsigned from = seeded(block) ? static_cast<unsigned>(draw(block) >> 32) % block.warps : 0;
    while (ready == 0) {
      for (unsigned i = 0; i < block.warps && ready == 0; i++) {
        block.warp = (from + i) % block.warps;
        ready = block.warpStates[block.warp].ready;
      }
      if (ready == 0) openBarrier(block);
    }
    if (seeded(block)) {
      const uint64_t r = draw(block);
      block.turn = r % kLanes;
      block.descending = r >> 32 & 1;
    }
  }
  Fiber& next = block.fibers[block.warp * kLanes + firstLane(block, ready)];
  if (&next == &self) return;
  thisThread = &next;
  switchTo(block, self.stack, next.stack, forGood);
  arriveOn(block, self.stack);
}

// As the thread itself: what the thread sanitizer should see. Bytes one by one: shared memory is typed otherwise.
void __attribute__((noinline)) land(const Copy& copy) {
  if (copy.from == nullptr)
    std::memset(copy.to, 0, static_cast<size_t>(copy.bytes));
  else
    std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
}

UNSEEN void landSome(Fiber& self) {
  if (!seeded(*self.block)) return;
  int left = 0;
  for (int i = 0; i < self.copies; i++)
    if (draw(*self.block) >> 62 == 0)
      land(self.copy[i]);
    else
      self.copy[left++] = self.copy[i];
  self.copies = left;
}

// Where a fiber begins.
UNSEEN void runThread() {
  Block& block = *thisThread->block;
  arriveOn(block, running().stack);
  acquire(&block.start);
  block.call->body();
  Fiber& self = running();
  if (self.copies > 0) fault("returned without having waited for an asynchronous copy", self.copy[0].site);
  release(&block.end);
  self.state = State::exited;
  self.warp->ready &= ~(1u << self.lane);
  if (++block.exited == block.threads)
    switchTo(block, self.stack, block.outside, true);
  else
    yield(block, true);
  std::abort();
}

UNSEEN void prepare(Block& block, const KernelCall& call, const dim3& index, uint64_t seed) {
  block.call = &call;
  block.index = index;
  block.threads = call.block.x * call.block.y * call.block.z;
  block.warps = (block.threads + kLanes - 1) / kLanes;
  block.exited = block.waiting = block.votes = block.phase = 0;
  block.warp = block.turn = 0;
  block.descending = false;
  block.random = 0;
  if (seed != 0) {
    const uint64_t number = (uint64_t{index.z} * call.grid.y + index.y) * call.grid.x + index.x;
    block.random = (seed * 0x9E3779B97F4A7C15u ^ (number + 1) * 0xD1B54A32D192ED03u) | 1;
    block.warp = static_cast<unsigned>(draw(block) >> 32) % block.warps;
    block.turn = draw(block) % kLanes;
    block.descending = draw(block) >> 63;
  }
  for (unsigned w = 0; w < block.warps; w++) {
    Warp& warp = block.warpStates[w];
    const unsigned lanes = block.threads - w * kLanes;
    warp.existing = warp.ready = lanes >= kLanes ? 0xFFFFFFFFu : (1u << lanes) - 1;
    warp.meetings = 0;
    warp.generation = 0;
  }
  for (unsigned i = 0; i < block.threads; i++) {
    Fiber& fiber = block.fibers[i];
    if (fiber.stack.bottom == nullptr) makeStack(fiber.stack);
    // Frames that nothing returned from, of the thread that ran here before.
    unpoisonAddresses(fiber.stack.bottom + kStack - kLastFrames, kLastFrames);
    fiber.stack.fake = nullptr;
    fiber.stack.saved = freshStack(fiber.stack.bottom + kStack, runThread);
    fiber.index = dim3(i % call.block.x, i / call.block.x % call.block.y, i / call.block.x / call.block.y);
    fiber.number = i;
    fiber.lane = i % kLanes;
    fiber.block = &block;
    fiber.warp = &block.warpStates[i / kLanes];
    fiber.state = State::ready;
    fiber.site = {"", 0};
    fiber.copies = fiber.copyGroup = 0;
  }
  const int arrays = declarationCount.load();
  for (int i = 0; i < arrays; i++)
    if (block.shared[i] != nullptr) block.shared[i]->forget();
  std::fill_n(block.declared, arrays, false);
  if (block.dynamic != nullptr) block.dynamic->forget();
}

// More shared memory than a block may have, which is more where the launch asked for it.
UNSEEN void checkSharedBytes(Block& block) {
  const size_t dynamic = block.call->sharedBytes;
  size_t bytes = dynamic;
  const int arrays = declarationCount.load();
  for (int i = 0; i < arrays; i++)
    if (block.declared[i]) bytes += (declarations[i].bytes + 15) / 16 * 16;
  const size_t most = dynamic <= kDynamicUnasked ? kSharedUnasked : kMaxSharedBytes;
  if (block.problem.empty() && bytes > most)
    block.problem = whereabouts(block) + ": a block takes " + std::to_string(bytes) + " bytes of shared memory, " +
                    std::to_string(dynamic) + " of them dynamic, and has " + std::to_string(most);
}

UNSEEN void checkGuards(Block& block) {
  const int arrays = declarationCount.load();
  for (int i = 0; i < arrays && block.problem.empty(); i++)
    if (block.shared[i] != nullptr && !block.shared[i]->intact())
      block.problem = whereabouts(block) + ": wrote outside of the shared array " + declarations[i].name + " of " +
                      std::to_string(declarations[i].bytes) + " bytes";
  if (block.problem.empty() && block.dynamic != nullptr && !block.dynamic->intact())
    block.problem = whereabouts(block) + ": wrote outside of its " + std::to_string(block.dynamic->bytes()) +
                    " bytes of dynamic shared memory";
}

UNSEEN void runBlock(Block& block, const KernelCall& call, const dim3& index, uint64_t seed) {
  prepare(block, call, index, seed);
#if defined(__SANITIZE_THREAD__)
  block.outside.identity = __tsan_get_current_fiber();
#endif
  // One block after the other uses this shared memory: no race between them.
  release(&block.start);
  Fiber& first = block.fibers[block.warp * kLanes + firstLane(block, block.warpStates[block.warp].ready)];
  thisThread = &first;
  switchTo(block, block.outside, first.stack, false);
  arriveOn(block, block.outside);
  thisThread = nullptr;
  acquire(&block.end);
  checkGuards(block);
  checkSharedBytes(block);
}

// Places for blocks, for reuse by later launches.
std::mutex idleMutex;
// Never destroyed: when a process exits, the queue of a device may still be running kernels.
std::vector<std::unique_ptr<Block>>& idle = *new std::vector<std::unique_ptr<Block>>;

std::unique_ptr<Block> takeBlock() {
  const std::lock_guard<std::mutex> lock(idleMutex);
  if (idle.empty()) return std::make_unique<Block>();
  std::unique_ptr<Block> block = std::move(idle.back());
  idle.pop_back();
  return block;
}

void giveBlock(std::unique_ptr<Block> block) {
  const std::lock_guard<std::mutex> lock(idleMutex);
  idle.push_back(std::move(block));
}

// Runs blocks first, first + step, ... until one has a problem.
std::string runBlocks(const KernelCall& call, uint64_t first, uint64_t step, uint64_t seed, std::atomic<bool>& failed) {
  std::unique_ptr<Block> block = takeBlock();
  std::unique_ptr<GuardedMemory> dynamic;
  if (call.sharedBytes > 0) dynamic = std::make_unique<GuardedMemory>(call.sharedBytes);
  block->dynamic = dynamic.get();
  const uint64_t blocks = uint64_t{call.grid.x} * call.grid.y * call.grid.z;
  for (uint64_t i = first; i < blocks && !failed.load(std::memory_order_relaxed); i += step) {
    const uint64_t row = i / call.grid.x;
    const dim3 index(static_cast<unsigned>(i % call.grid.x), static_cast<unsigned>(row % call.grid.y),
                     static_cast<unsigned>(row / call.grid.y));
    runBlock(*block, call, index, seed);
    if (!block->problem.empty()) failed.store(true, std::memory_order_relaxed);
  }
  block->dynamic = nullptr;
  const std::string problem = block->problem;
  if (problem.empty()) {
    giveBlock(std::move(block));
  } else {
    // Stacks in the middle of something are not used again.
    const Unseen end;
    block.reset();
  }
  return problem;
}

}  // namespace

void setSchedule(const Schedule& schedule) {
  const std::lock_guard<std::mutex> lock(scheduleMutex);
  theSchedule = schedule;
}

const char* configurationProblem(const KernelCall& call) {
  const uint64_t threads = uint64_t{call.block.x} * call.block.y * call.block.z;
  if (threads == 0 || threads > kMaxThreads || call.block.z > 64) return "a block must have 1 to 1,024 threads, at most 64 along z";
  if (call.grid.x == 0 || call.grid.y == 0 || call.grid.z == 0) return "the grid is empty";
  if (call.grid.x > 0x7FFFFFFFu || call.grid.y > 65535 || call.grid.z > 65535)
    return "the grid exceeds 2^31 - 1 x 65,535 x 65,535 blocks";
  if (call.sharedBytes > kMaxSharedBytes) return "a block has at most 227 KiB of shared memory";
  return nullptr;
}

std::string run(const KernelCall& call) {
  if (const char* const problem = configurationProblem(call)) return std::string(call.name) + ": " + problem;
  Schedule schedule;
  {
    const std::lock_guard<std::mutex> lock(scheduleMutex);
    schedule = theSchedule;
  }
  const uint64_t blocks = uint64_t{call.grid.x} * call.grid.y * call.grid.z;
  const uint64_t workers = std::min<uint64_t>(blocks, static_cast<uint64_t>(std::max(1, schedule.workers)));
  std::atomic<bool> failed{false};
  std::vector<std::string> problems(workers);
  std::vector<std::thread> threads;
  for (uint64_t w = 1; w < workers; w++)
    threads.emplace_back([&, w] { problems[w] = runBlocks(call, w, workers, schedule.seed, failed); });
  problems[0] = runBlocks(call, 0, workers, schedule.seed, failed);
  for (std::thread& thread : threads) thread.join();
  for (const std::string& problem : problems)
    if (!problem.empty()) return problem;
  return "";
}

SharedArray::SharedArray(const char* name, size_t bytes) : number_(declarationCount.fetch_add(1)) {
  if (number_ >= kMaxSharedArrays) {
    std::fprintf(stderr, "more than %d arrays of shared memory are declared: raise kMaxSharedArrays\n", kMaxSharedArrays);
    std::abort();
  }
  declarations[number_] = {name, bytes};
}

UNSEEN void* SharedArray::memory() const {
  thisThread->block->declared[number_] = true;
  GuardedMemory*& memory = thisThread->block->shared[number_];
  if (memory == nullptr) {
    const Unseen creation;
    memory = new GuardedMemory(declarations[number_].bytes);
    memory->forget();
  }
  return memory->data();
}

UNSEEN const dim3& blockIndex() { return thisThread->block->index; }
UNSEEN const dim3& blockSize() { return thisThread->block->call->block; }
UNSEEN const dim3& gridSize() { return thisThread->block->call->grid; }

UNSEEN void* dynamicShared() {
  Block& block = *thisThread->block;
  if (block.dynamic == nullptr) fault("uses dynamic shared memory, but was launched with none", {"", 0});
  return block.dynamic->data();
}

UNSEEN unsigned waitForBlock(Site site, unsigned vote) {
  Fiber& self = running();
  Block& block = *self.block;
  landSome(self);
  self.state = State::atBarrier;
  self.site = site;
  self.warp->ready &= ~(1u << self.lane);
  block.waiting++;
  block.votes += vote;
  // By parity: the arrival of a fast warp at the next barrier must not order a slow one.
  char* const order = &block.barrier[block.phase & 1];
  release(order);
  yield(block, false);
  acquire(order);
  landSome(self);
  return block.lastVotes;
}

UNSEEN void exchange(uint32_t mask, const void* give, void* take, Exchange compute, Site site) {
  Fiber& self = running();
  Warp& warp = *self.warp;
  const uint32_t bit = 1u << self.lane;
  if ((mask & bit) == 0) fault("a lane takes part in a warp operation whose mask does not name it", site);
  if ((mask & ~warp.existing) != 0) fault("the mask of a warp operation names lanes that the block does not have", site);
  self.site = site;
  landSome(self);
  Meeting* meeting = nullptr;
  for (int i = 0; i < warp.meetings; i++) {
    Meeting& other = warp.meeting[i];
    if (other.mask == mask && other.compute == compute && same(other.site, site))
      meeting = &other;
    else if ((other.mask & bit) != 0 && (other.arrived & mask) != 0)  // they wait for this lane, and it for them
      fault("lanes of one warp wait at different operations: one at " + text(other.site), site);
  }
  if (meeting == nullptr) {
    meeting = &warp.meeting[warp.meetings++];
    meeting->mask = mask;
    meeting->arrived = 0;
    meeting->compute = compute;
    meeting->site = site;
  }
  meeting->arrived |= bit;
  meeting->lanes[self.lane] = {give, take};
  if (meeting->arrived == mask) {
    if (compute != nullptr) compute(meeting->lanes, mask);
    for (uint32_t rest = mask; rest != 0; rest &= rest - 1)
      self.block->fibers[self.number - self.lane + static_cast<unsigned>(__builtin_ctz(rest))].state = State::ready;
    warp.ready |= mask;
    *meeting = warp.meeting[--warp.meetings];
    return;
  }
  self.state = State::inWarp;
  warp.ready &= ~bit;
  yield(*self.block, false);
}

UNSEEN void waitForWarp(uint32_t mask, Site site) {
  Warp& warp = *thisThread->warp;
  char* const order = &warp.order[warp.generation & 1];
  release(order);
  struct Count {
    static void up(const LaneExchange (&)[32], uint32_t) { thisThread->warp->generation++; }
  };
  exchange(mask, nullptr, nullptr, Count::up, site);
  acquire(order);
}

UNSEEN void startCopy(void* to, const void* from, int bytes, Site site) {
  Fiber& self = running();
  if (reinterpret_cast<uintptr_t>(to) % static_cast<uintptr_t>(bytes) != 0)
    fault("an asynchronous copy to an address that is not aligned to its " + std::to_string(bytes) + " bytes", site);
  if (reinterpret_cast<uintptr_t>(from) % static_cast<uintptr_t>(bytes) != 0)
    fault("an asynchronous copy from an address that is not aligned to its " + std::to_string(bytes) + " bytes", site);
  if (self.copies == kMaxCopies) fault("too many asynchronous copies at a time for the host: raise kMaxCopies", site);
  const Copy copy{to, from, bytes, self.copyGroup, site};
  if (seeded(*self.block) && draw(*self.block) >> 63) return land(copy);
  std::memset(to, kPoison, static_cast<size_t>(bytes));
  self.copy[self.copies++] = copy;
}

UNSEEN void closeCopyGroup() { running().copyGroup++; }

UNSEEN void waitForCopies(int groups) {
  Fiber& self = running();
  int left = 0;
  for (int i = 0; i < self.copies; i++)
    if (self.copy[i].group < self.copyGroup - groups)
      land(self.copy[i]);
    else
      self.copy[left++] = self.copy[i];
  self.copies = left;
}

UNSEEN void fault(const std::string& what, Site site) {
  Fiber& self = running();
  abandon(*self.block, whereabouts(*self.block) + ", thread " + text(self.index) + ": " + what +
                           (site.line == 0 ? "" : " (" + text(site) + ")"));
}

}  // namespace host
}  // namespace gpu
