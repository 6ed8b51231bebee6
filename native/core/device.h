// The cpu device: buffers by number, and the queue that works on them.
#pragma once

#include <cstdint>
#include <stdexcept>
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
  // 0 threads: as many as there are processors.
  explicit Device(int threads);
  ~Device();

  int threads() const { return queue_.threads(); }

  double allocate(double bytes);
  void release(double id);
  void submit(const double* words, size_t count);
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
  // The memory at an offset of a live buffer, `bytes` of which must exist.
  char* region(const char* what, double id, double byteOffset, size_t bytes) const;

  std::vector<Slot> slots_;
  std::vector<uint32_t> freeSlots_;
  size_t liveBuffers_ = 0;
  size_t liveBytes_ = 0;
  Allocator allocator_;
  Queue queue_;
};

}  // namespace langevin
