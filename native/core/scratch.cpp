// A bump allocator that ends up with one chunk as large as the hungriest kernel needs.
#include "scratch.h"

#include <cstdlib>
#include <new>

namespace langevin {

ScratchMemory::~ScratchMemory() {
  for (const Chunk& chunk : chunks_) std::free(chunk.data);
}

void ScratchMemory::grow(size_t bytes) {
  chunks_.reserve(chunks_.size() + 1);
  void* data = nullptr;
  if (posix_memalign(&data, 64, bytes) != 0) throw std::bad_alloc();
  chunks_.push_back({static_cast<char*>(data), bytes});
  used_ = 0;
}

void* ScratchMemory::take(size_t bytes) {
  const size_t rounded = (bytes + 63) / 64 * 64;
  if (chunks_.empty() || chunks_.back().bytes - used_ < rounded) grow(rounded < (1u << 20) ? 1u << 20 : rounded);
  char* const region = chunks_.back().data + used_;
  used_ += rounded;
  return region;
}

void ScratchMemory::reset() {
  used_ = 0;
  if (chunks_.size() < 2) return;
  size_t total = 0;
  for (const Chunk& chunk : chunks_) {
    total += chunk.bytes;
    std::free(chunk.data);
  }
  chunks_.clear();
  void* data = nullptr;
  // Without memory for the one chunk, the next kernel starts anew.
  if (posix_memalign(&data, 64, total) == 0) chunks_.push_back({static_cast<char*>(data), total});
}

}  // namespace langevin
