// The caching allocator.
#include "allocator.h"

#include <cstdio>
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace langevin {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kAlwaysKept = size_t{64} << 20;  // too little to be called waste

}  // namespace

void* HostMemory::obtain(size_t bytes) {
  // Blocks of several huge pages lie on their boundaries, so that the system can back them with few page faults.
  const bool huge = bytes >= 2 * kHugePage;
  void* data = nullptr;
  if (posix_memalign(&data, huge ? kHugePage : kAlignment, bytes) != 0) return nullptr;
#if defined(__linux__)
  if (huge) madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

void HostMemory::giveBack(void* data) { std::free(data); }

std::string HostMemory::refusal(double bytes, size_t) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", bytes);
  return std::string("out of memory: ") + text + " bytes are not to be had";
}

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
  void* data;
  if (!list.empty()) {
    data = list.back();
    list.pop_back();
  } else {
    data = source_.obtain(rounded);
    if (data == nullptr) return {};
    reserved_ += rounded;
  }
  used_ += rounded;
  if (used_ > mostUsed_) mostUsed_ = used_;
  return {data, rounded};
}

void Allocator::release(Block block) {
  free_[block.bytes].push_back(block.data);
  used_ -= block.bytes;
}

bool Allocator::wasteful(size_t bytes) const {
  const size_t rounded = classBytes(bytes), held = reserved_ + rounded;
  const auto list = free_.find(rounded);
  if (held <= kAlwaysKept || (list != free_.end() && !list->second.empty())) return false;
  const size_t used = used_ + rounded;
  return held / 2 > (used > mostUsed_ ? used : mostUsed_);
}

void Allocator::trim() {
  for (auto& [bytes, list] : free_) {
    for (void* data : list) {
      source_.giveBack(data);
      reserved_ -= bytes;
    }
    list.clear();
  }
}

}  // namespace langevin
