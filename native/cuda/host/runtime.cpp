// The stand-in's memory with guards, streams that put work off, graphs that run in any order they allow, and faults on demand.
#include "runtime.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <stdexcept>
#include <vector>

namespace langevin {
namespace cuda {
namespace host {
namespace {

using Work = std::function<void()>;

constexpr size_t kAlignment = 256;  // as cudaMalloc promises
constexpr size_t kGuard = 256;      // bytes before and after each block
constexpr unsigned char kGuardByte = 0xA5, kFreshByte = 0xFF;  // fresh floats are NaN
constexpr size_t kMostChecked = 128;  // blocks, after a wait
constexpr size_t kMostQueued = 64;  // pieces of work before the caller has to wait; a GPU takes about a thousand

// The number behind `name=` in LANGEVIN_CUDA_HOST.
double provoked(const char* name, double otherwise) {
  const char* const text = std::getenv("LANGEVIN_CUDA_HOST");
  const char* const at = text == nullptr ? nullptr : std::strstr(text, name);
  return at == nullptr ? otherwise : std::atof(at + std::strlen(name));
}

struct Faults {
  size_t memory = static_cast<size_t>(provoked("memory=", 4294967296.0));
  uint64_t launch = static_cast<uint64_t>(provoked("launch=", 0));
  uint64_t crash = static_cast<uint64_t>(provoked("crash=", 0));
  uint64_t graph = static_cast<uint64_t>(provoked("graph=", 0));
  int capability = static_cast<int>(provoked("capability=", 90));
  int multiprocessors = static_cast<int>(provoked("multiprocessors=", 2));
};

// What the process has of the device. Never destroyed: devices may outlive static objects.
struct Machine {
  const Faults faults;
  std::mutex mutex;
  std::map<void*, size_t> blocks;
  void* lastChecked = nullptr;
  size_t used = 0;
  uint64_t launches = 0;
  std::atomic<uint64_t> graphs{0};
  cudaError_t broken = cudaSuccess;

  static Machine& get() {
    static Machine& machine = *new Machine;
    return machine;
  }

  cudaError_t health() {
    std::lock_guard<std::mutex> lock(mutex);
    return broken;
  }

  void breakDown(cudaError_t error) {
    std::lock_guard<std::mutex> lock(mutex);
    if (broken == cudaSuccess) broken = error;
  }

  static bool intact(const unsigned char* guard) {
    static const std::array<unsigned char, kGuard> untouched = [] {
      std::array<unsigned char, kGuard> bytes;
      bytes.fill(kGuardByte);
      return bytes;
    }();
    return std::memcmp(guard, untouched.data(), kGuard) == 0;
  }

  // A write beyond a block is what memcheck would report, and ends the context here.
  void checkGuard(const void* data, size_t bytes) {
    const unsigned char* const start = static_cast<const unsigned char*>(data);
    const bool before = intact(start - kGuard), after = intact(start + bytes);
    if (before && after) return;
    std::fprintf(stderr, "cuda-host: something wrote %s a block of %zu bytes\n", before ? "behind" : "before", bytes);
    if (broken == cudaSuccess) broken = cudaErrorIllegalAddress;
  }

  // After a wait: some blocks, where there are very many, and the others in their turn.
  void checkGuards() {
    std::lock_guard<std::mutex> lock(mutex);
    auto block = blocks.upper_bound(lastChecked);
    for (size_t left = std::min(blocks.size(), kMostChecked); left > 0; left--, block++) {
      if (block == blocks.end()) block = blocks.begin();
      lastChecked = block->first;
      checkGuard(block->first, block->second);
    }
  }
};

thread_local cudaError_t lastError = cudaSuccess;

cudaError_t failWith(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) lastError = error;
  return error;
}

// A call that does nothing but fail once the context is broken.
cudaError_t health() { return failWith(Machine::get().health()); }

}  // namespace
}  // namespace host
}  // namespace cuda
}  // namespace langevin

using namespace langevin::cuda::host;

struct HostGraphNode {
  Work work;
  std::vector<size_t> before;  // numbers of nodes that must have run
  size_t number;
};
struct HostGraph {
  std::vector<std::shared_ptr<HostGraphNode>> nodes;
};
struct HostGraphExec {
  std::shared_ptr<const HostGraph> graph;
};

namespace langevin {
namespace cuda {
namespace host {
namespace {

// Work in the order in which it was handed over. The owner of a device calls from two threads, hence the lock.
class LateStream final : public Stream {
 public:
  void launch(const LaunchShape& shape, Work work) override {
    Machine& machine = Machine::get();
    uint64_t number;
    {
      std::lock_guard<std::mutex> lock(machine.mutex);
      number = ++machine.launches;
    }
    uint64_t threads = 1;
    for (int i = 0; i < 3; i++) threads *= shape.block[i];
    bool good = threads >= 1 && threads <= 1024 && shape.block[2] <= 64 && shape.sharedBytes <= 227 * 1024;
    good = good && shape.grid[0] >= 1 && shape.grid[0] <= 2147483647u;
    for (int i = 1; i < 3; i++) good = good && shape.grid[i] >= 1 && shape.grid[i] <= 65535;
    if (!good || number == machine.faults.launch) {
      failWith(cudaErrorInvalidConfiguration);
      return;
    }
    if (number == machine.faults.crash) work = [] { Machine::get().breakDown(cudaErrorIllegalAddress); };
    push(std::move(work));
  }

  cudaError_t push(Work work) {
    std::lock_guard<std::recursive_mutex> lock(mutex_);
    if (const cudaError_t error = health()) return error;
    if (recording_ != nullptr) {
      HostGraphNode node{std::move(work), {}, recording_->nodes.size()};
      for (const HostGraphNode* earlier : captured_) node.before.push_back(earlier->number);
      recording_->nodes.push_back(std::make_shared<HostGraphNode>(std::move(node)));
      captured_ = {recording_->nodes.back().get()};
      return cudaSuccess;
    }
    queue_.push_back(std::move(work));
    while (queue_.size() > kMostQueued) runOne();
    return cudaSuccess;
  }

  cudaError_t finish() {
    std::lock_guard<std::recursive_mutex> lock(mutex_);
    if (recording_ != nullptr) return failWith(cudaErrorStreamCaptureUnsupported);
    const bool some = !queue_.empty();
    while (!queue_.empty()) runOne();
    if (some) Machine::get().checkGuards();
    return health();
  }

  cudaError_t query() {
    std::lock_guard<std::recursive_mutex> lock(mutex_);
    if (const cudaError_t error = health()) return error;
    if (queue_.empty()) return cudaSuccess;
    runOne();
    return cudaErrorNotReady;
  }

  // Runs until `reached`.
  template <class F>
  cudaError_t runUntil(const F& reached) {
    std::lock_guard<std::recursive_mutex> lock(mutex_);
    bool some = false;
    for (; !queue_.empty() && !reached(); some = true) runOne();
    if (some) Machine::get().checkGuards();
    return health();
  }

  cudaError_t beginCapture() {
    std::lock_guard<std::recursive_mutex> lock(mutex_);
    if (recording_ != nullptr) return failWith(cudaErrorStreamCaptureUnsupported);
    recording_ = std::make_unique<HostGraph>();
    captured_.clear();
    return health();
  }

  cudaError_t captured(cudaGraph_t* graph, const cudaGraphNode_t** nodes, size_t* count) {
    std::lock_guard<std::recursive_mutex> lock(mutex_);
    if (recording_ == nullptr) return failWith(cudaErrorInvalidValue);
    *graph = recording_.get();
    *nodes = captured_.data();
    *count = captured_.size();
    return health();
  }

  cudaError_t dependOn(const cudaGraphNode_t* nodes, size_t count, bool instead) {
    std::lock_guard<std::recursive_mutex> lock(mutex_);
    if (recording_ == nullptr) return failWith(cudaErrorInvalidValue);
    if (instead) captured_.clear();
    for (size_t i = 0; i < count; i++) {
      if (std::find(captured_.begin(), captured_.end(), nodes[i]) != captured_.end()) return failWith(cudaErrorInvalidValue);
      captured_.push_back(nodes[i]);
    }
    return health();
  }

  cudaError_t endCapture(cudaGraph_t* graph) {
    std::lock_guard<std::recursive_mutex> lock(mutex_);
    *graph = recording_.release();
    return *graph == nullptr ? failWith(cudaErrorInvalidValue) : health();
  }

 private:
  void runOne() {
    const Work work = std::move(queue_.front());
    queue_.pop_front();
    if (Machine::get().health() != cudaSuccess) return;
    try {
      work();
    } catch (const std::runtime_error& fault) {
      // A kernel did what a GPU would punish: machine.h says what and where.
      std::fprintf(stderr, "cuda-host: %s\n", fault.what());
      Machine::get().breakDown(cudaErrorLaunchFailure);
    }
  }

  std::recursive_mutex mutex_;
  std::deque<Work> queue_;
  std::unique_ptr<HostGraph> recording_;
  std::vector<cudaGraphNode_t> captured_;  // what the next node waits for
};

// Runs the nodes in one of the orders that are allowed, by a seeded choice among those that are ready.
void runGraph(const HostGraph& graph) {
  static std::atomic<uint32_t> launches{0};
  std::minstd_rand random(++launches);
  std::vector<size_t> waiting(graph.nodes.size());
  std::vector<std::vector<size_t>> after(graph.nodes.size());
  std::vector<size_t> ready;
  for (const auto& node : graph.nodes) {
    waiting[node->number] = node->before.size();
    for (const size_t earlier : node->before) after[earlier].push_back(node->number);
    if (node->before.empty()) ready.push_back(node->number);
  }
  while (!ready.empty()) {
    std::swap(ready[random() % ready.size()], ready.back());
    const size_t number = ready.back();
    ready.pop_back();
    graph.nodes[number]->work();
    for (const size_t next : after[number])
      if (--waiting[next] == 0) ready.push_back(next);
  }
}

LateStream& late(cudaStream_t stream) { return *static_cast<LateStream*>(stream); }

// Streams that are there, for calls that wait for the whole device.
struct Streams {
  std::mutex mutex;
  std::vector<LateStream*> all;
  static Streams& get() {
    static Streams& streams = *new Streams;
    return streams;
  }
};

}  // namespace
}  // namespace host
}  // namespace cuda
}  // namespace langevin

struct HostEvent {
  LateStream* stream = nullptr;
  uint64_t recorded = 0;  // how often
  std::shared_ptr<uint64_t> passed = std::make_shared<uint64_t>(0);
};

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
    case cudaErrorNotReady: return "device not ready";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
  }
  return "unrecognized error code";
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = lastError;
  lastError = Machine::get().health();  // such an error stays
  return error;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return failWith(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "host stand-in");
  const Faults& faults = Machine::get().faults;
  properties->major = faults.capability / 10;
  properties->minor = faults.capability % 10;
  properties->totalGlobalMem = faults.memory;
  properties->multiProcessorCount = faults.multiprocessors;
  // CUDA C++ Programming Guide, technical specifications by compute capability.
  properties->sharedMemPerBlockOptin = (faults.capability >= 90 ? 227 : faults.capability >= 80 ? 163 : 64) << 10;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return device == 0 ? health() : failWith(cudaErrorInvalidDevice); }

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }

cudaError_t cudaMalloc(void** data, size_t bytes) {
  Machine& machine = Machine::get();
  if (const cudaError_t error = health()) return error;
  std::lock_guard<std::mutex> lock(machine.mutex);
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (bytes > machine.faults.memory || machine.used + rounded > machine.faults.memory)
    return failWith(cudaErrorMemoryAllocation);
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, rounded + 2 * kGuard) != 0) return failWith(cudaErrorMemoryAllocation);
  unsigned char* const start = static_cast<unsigned char*>(block) + kGuard;
  std::memset(block, kGuardByte, kGuard);
  std::memset(start, kFreshByte, bytes);
  std::memset(start + bytes, kGuardByte, rounded - bytes + kGuard);
  machine.blocks.emplace(start, bytes);
  machine.used += rounded;
  *data = start;
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  if (data == nullptr) return cudaSuccess;
  {
    std::lock_guard<std::mutex> lock(Streams::get().mutex);
    for (LateStream* stream : Streams::get().all) stream->finish();
  }
  Machine& machine = Machine::get();
  std::lock_guard<std::mutex> lock(machine.mutex);
  const auto found = machine.blocks.find(data);
  if (found == machine.blocks.end()) return failWith(cudaErrorInvalidValue);
  machine.checkGuard(data, found->second);
  machine.used -= (found->second + kAlignment - 1) / kAlignment * kAlignment;
  machine.blocks.erase(found);
  std::free(static_cast<unsigned char*>(data) - kGuard);
  return failWith(machine.broken);
}

cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
  if (const cudaError_t error = health()) return error;
  return posix_memalign(data, kAlignment, bytes) == 0 ? cudaSuccess : failWith(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void* data) {
  std::free(data);
  return health();
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  Machine& machine = Machine::get();
  if (const cudaError_t error = health()) return error;
  std::lock_guard<std::mutex> lock(machine.mutex);
  *total = machine.faults.memory;
  *free = machine.faults.memory - machine.used;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (const cudaError_t error = health()) return error;
  LateStream* const made = new LateStream;
  std::lock_guard<std::mutex> lock(Streams::get().mutex);
  Streams::get().all.push_back(made);
  *stream = made;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::lock_guard<std::mutex> lock(Streams::get().mutex);
  std::vector<LateStream*>& all = Streams::get().all;
  for (size_t i = 0; i < all.size(); i++)
    if (all[i] == stream) {
      all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
      late(stream).finish();
      delete static_cast<LateStream*>(stream);
      return health();
    }
  return failWith(cudaErrorInvalidValue);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return late(stream).finish(); }
cudaError_t cudaStreamQuery(cudaStream_t stream) { return late(stream).query(); }

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return late(stream).push([=] { std::memcpy(target, source, bytes); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new HostEvent;
  return health();
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return health();
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->stream = &late(stream);
  const uint64_t number = ++event->recorded;
  return late(stream).push([passed = event->passed, number] { *passed = number; });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->stream == nullptr) return health();
  return event->stream->runUntil([event] { return *event->passed >= event->recorded; });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) { return late(stream).beginCapture(); }
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) { return late(stream).endCapture(graph); }

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status, unsigned long long*, cudaGraph_t* graph,
                                     const cudaGraphNode_t** nodes, const cudaGraphEdgeData**, size_t* count) {
  *status = cudaStreamCaptureStatusActive;
  return late(stream).captured(graph, nodes, count);
}

cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t stream, cudaGraphNode_t* nodes, const cudaGraphEdgeData*,
                                                size_t count, unsigned flags) {
  return late(stream).dependOn(nodes, count, flags == cudaStreamSetCaptureDependencies);
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = graph->nodes.size();
  return health();
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  Machine& machine = Machine::get();
  if (++machine.graphs == machine.faults.graph) return failWith(cudaErrorMemoryAllocation);
  *executable = new HostGraphExec{std::make_shared<const HostGraph>(*graph)};
  return health();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return late(stream).push([graph = executable->graph] { runGraph(*graph); });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return health();
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return health();
}
