// The caching allocator.
#include "allocator.h"

#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace langevin {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

void* obtain(size_t bytes) {
  // Blocks of several huge pages lie on their boundaries, so that the system can back them with few page faults.
  const bool huge = bytes >= 2 * kHugePage;
  void* data = nullptr;
  if (posix_memalign(&data, huge ? kHugePage : kAlignment, bytes) != 0) return nullptr;
#if defined(__linux__)
  if (huge) madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

}  // namespace

size_t Allocator::classBytes(size_t bytes) {
  if (bytes <= kAlignment) return kAlignment;
  const int top = 63 - __builtin_clzll(static_cast<unsigned long long>(bytes - 1));  // 2^top < bytes <= 2^(top+1)
  const size_t step = top >= 8 ? size_t{1} << (top - 2) : kAlignment;
  return (bytes + step - 1) / step * step;
}

Allocator::~Allocator() { trim(); }

Allocator::Block Allocator::allocate(size_t bytes) {
  const size_t rounded = classBytes(bytes);
  std::vector<void*>& list = free_[rounded];
  if (!list.empty()) {
    void* const data = list.back();
    list.pop_back();
    return {data, rounded};
  }
  void* const data = obtain(rounded);
  if (data == nullptr) return {};
  reserved_ += rounded;
  return {data, rounded};
}

void Allocator::release(Block block) { free_[block.bytes].push_back(block.data); }

void Allocator::trim() {
  for (auto& [bytes, list] : free_) {
    for (void* data : list) {
      std::free(data);
      reserved_ -= bytes;
    }
    list.clear();
  }
}

}  // namespace langevin
