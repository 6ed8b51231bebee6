// A device: buffers and programs by number, and the queue that works on them.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <unordered_map>
#include <vector>

#include "allocator.h"
#include "decode.h"
#include "queue.h"

namespace langevin {

// A call that cannot be carried out; nothing was queued.
struct DeviceFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct MemoryStats {
  size_t liveBuffers = 0;
  size_t liveBytes = 0;
  size_t reservedBytes = 0;
};

// All functions are called from one thread, that of the owner's environment.
class Device final : private BufferLookup {
 public:
  explicit Device(std::unique_ptr<Backend> backend);
  ~Device();

  int threads() const { return queue_.backend().threads(); }

  double allocate(double bytes);
  void release(double id);
  void submit(const double* words, size_t count);

  // Checks a program and holds it ready; returns its number, which is never reused.
  double load(const double* words, size_t count, const double* layout, size_t layoutCount);
  // What the backend says of it.
  std::string describe(double program) const;
  // Lets go of a program. Replays that were started keep it until they end.
  void unload(double program);
  // Queues one step. What goes wrong in it is found like what goes wrong in submitted commands.
  void run(double program, std::vector<double> values);
  // Checks that a program can run so and that its buffers are alive.
  std::shared_ptr<Replay> prepare(double program, ReplayPlan plan) const;
  // Queues it. `done` is called on the queue's thread after its end, unless the device goes first.
  void start(std::shared_ptr<Replay> replay, Queue::Completion done) { queue_.replay(std::move(replay), std::move(done)); }

  void write(double id, double byteOffset, const void* source, size_t bytes);
  // `target` must stay alive until `done` was called, on the queue's thread.
  void read(double id, double byteOffset, void* target, size_t bytes, Queue::Completion done);
  // Blocks; returns what went wrong in the work before it.
  Failure readSync(double id, double byteOffset, void* target, size_t bytes);
  void fence(Queue::Completion done) { queue_.fence(std::move(done)); }
  // Whether all work is done, so that a read or a fence need not wait.
  bool idle() const { return queue_.idle(); }
  Failure takeFailure() { return queue_.takeFailure(); }

  MemoryStats memory() const;

 private:
  struct Slot {
    double id = 0;  // 0: free
    uint32_t generation = 0;
    size_t bytes = 0;  // as asked for
    Allocator::Block block;
  };

  // Gives free blocks back to the system, once queued commands no longer use them.
  void trim();
  BufferView find(double id) const override;
  const Slot* slotOf(double id) const;
  std::shared_ptr<Replay> newReplay(const char* call, double program, ReplayPlan plan) const;
  // The memory at an offset of a live buffer, `bytes` of which must exist.
  char* region(const char* what, double id, double byteOffset, size_t bytes) const;

  std::unordered_map<double, std::shared_ptr<Program>> programs_;
  double lastProgram_ = 0;
  std::vector<Slot> slots_;
  std::vector<uint32_t> freeSlots_;
  size_t liveBuffers_ = 0;
  size_t liveBytes_ = 0;
  Queue queue_;
  Allocator allocator_;
};

}  // namespace langevin
