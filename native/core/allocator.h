// Memory for buffers: 64-byte aligned blocks in size classes, kept for reuse when they are freed.
//
// Reuse is stream-ordered: all work on a device runs in one order, so a block that is freed while commands on it are still
// queued may be handed out at once; whoever gets it only touches it by later commands. Blocks stay with the process,
// because memory given back to the system at every step costs a page fault for each 4 KiB of the next one. But a program
// whose sizes change all the time must not keep a block of every size for ever: see `wasteful`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace langevin {

class Allocator {
 public:
  struct Block {
    void* data = nullptr;
    size_t bytes = 0;  // of the size class
  };

  Allocator() = default;
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
  std::unordered_map<size_t, std::vector<void*>> free_;
  size_t reserved_ = 0;
  size_t used_ = 0;  // bytes of blocks handed out
  size_t mostUsed_ = 0;
};

}  // namespace langevin
