// Memory for buffers: 64-byte aligned blocks in size classes, kept for reuse when they are freed.
//
// Reuse is stream-ordered: all work on a device runs in one order, so a block that is freed while commands on it are still
// queued may be handed out at once; whoever gets it only touches it by later commands. Blocks stay with the process,
// because memory given back to the system at every step costs a page fault for each 4 KiB of the next one. But a program
// whose sizes change all the time must not keep a block of every size for ever: see `wasteful`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace langevin {

// Where blocks come from.
class MemorySource {
 public:
  // 64-byte aligned; null when there is no more memory.
  virtual void* obtain(size_t bytes) = 0;
  // Nothing that runs may use the block any more.
  virtual void giveBack(void* data) = 0;
  // What a caller is told whose block is not to be had, while buffers hold `live` bytes.
  virtual std::string refusal(double bytes, size_t live) = 0;

 protected:
  ~MemorySource() = default;
};

// The memory of the process.
class HostMemory final : public MemorySource {
 public:
  void* obtain(size_t bytes) override;
  void giveBack(void* data) override;
  std::string refusal(double bytes, size_t live) override;
};

class Allocator {
 public:
  struct Block {
    void* data = nullptr;
    size_t bytes = 0;  // of the size class
  };

  explicit Allocator(MemorySource& source) : source_(source) {}
  ~Allocator();
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  // Returns a block of at least `bytes`, or one without data when the system has no more memory.
  Block allocate(size_t bytes);
  void release(Block block);

  // Whether a fresh block of `bytes` would bring the memory held to more than twice what was ever in use at once.
  bool wasteful(size_t bytes) const;

  // Gives all free blocks back to the system; nothing queued may use them any more.
  void trim();

  // Bytes obtained from the system, in use or kept.
  size_t reservedBytes() const { return reserved_; }

  // Sizes are rounded up to four steps for each power of two: a quarter is wasted at most.
  static size_t classBytes(size_t bytes);

 private:
  MemorySource& source_;
  std::unordered_map<size_t, std::vector<void*>> free_;
  size_t reserved_ = 0;
  size_t used_ = 0;  // bytes of blocks handed out
  size_t mostUsed_ = 0;
};

}  // namespace langevin
