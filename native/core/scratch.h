// Working memory of one kernel at a time, kept from kernel to kernel.
#pragma once

#include <cstddef>
#include <vector>

namespace langevin {

class ScratchMemory {
 public:
  ScratchMemory() = default;
  ~ScratchMemory();
  ScratchMemory(const ScratchMemory&) = delete;
  ScratchMemory& operator=(const ScratchMemory&) = delete;

  // 64-byte aligned; throws std::bad_alloc.
  void* take(size_t bytes);
  // Ends the life of all regions taken.
  void reset();

 private:
  struct Chunk {
    char* data;
    size_t bytes;
  };
  void grow(size_t bytes);

  std::vector<Chunk> chunks_;  // regions come from the last one
  size_t used_ = 0;            // of the last one
};

}  // namespace langevin
