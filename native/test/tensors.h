// What kernels are checked on: random tensors with sentinels around and between their rows, and attribute words.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <new>
#include <string>
#include <vector>

#include "../core/command.h"

namespace langevin {

using Shape = std::vector<int64_t>;

// xorshift64*; a seed gives the same values everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2654435761u + 88172645463325252u) {}
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 2685821657736338717u;
  }
  float uniform() { return static_cast<float>(static_cast<double>(next() >> 40) / (1 << 23) - 1); }
  int64_t between(int64_t low, int64_t high) { return low + static_cast<int64_t>((next() >> 33) % (high - low + 1)); }

 private:
  uint64_t state_;
};

constexpr uint32_t kSentinel = 0x7fc0dead;  // a NaN, so reading it spoils results
constexpr int64_t kMargin = 64;             // floats before and behind

// Buffers of a device start at cache lines.
template <class T>
struct CacheLineAllocator {
  using value_type = T;
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(64)); }
  bool operator==(const CacheLineAllocator&) const { return true; }
  bool operator!=(const CacheLineAllocator&) const { return false; }
};

inline int64_t sizeOf(const Shape& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(const Shape& shape, int64_t gap = 0) : shape_(shape), gap_(gap) {
    const int64_t floats = rows() * pitch() - (rows() > 0 ? gap_ : 0) + 2 * kMargin;
    data_.resize(static_cast<size_t>(floats < 2 * kMargin ? 2 * kMargin : floats));
    for (float& x : data_) std::memcpy(&x, &kSentinel, 4);
  }

  static Tensor random(const Shape& shape, Random& random, int64_t gap = 0) {
    Tensor t(shape, gap);
    for (int64_t i = 0; i < t.size(); i++) t.at(i) = random.uniform();
    return t;
  }

  // The same values under another gap, or the leading rows [begin, end) of the first axis.
  Tensor withGap(int64_t gap) const { return copy(shape_, gap, 0); }
  Tensor slice(int64_t begin, int64_t end) const {
    Shape shape = shape_;
    shape[0] = end - begin;
    return copy(shape, gap_, shape_[0] == 0 ? 0 : size() / shape_[0] * begin);
  }

  // Whether there is one: a default one stands for an optional input that is absent.
  bool present() const { return !data_.empty(); }

  const Shape& shape() const { return shape_; }
  int64_t size() const { return sizeOf(shape_); }
  int64_t cols() const { return shape_.empty() ? 1 : shape_.back(); }
  int64_t rows() const { return cols() == 0 ? 0 : size() / cols(); }
  int64_t pitch() const { return cols() + gap_; }
  // From the first element to behind the last, gaps between included.
  int64_t extent() const { return static_cast<int64_t>(data_.size()) - 2 * kMargin; }
  float& at(int64_t i) { return data_[kMargin + i / cols() * pitch() + i % cols()]; }
  float at(int64_t i) const { return data_[kMargin + i / cols() * pitch() + i % cols()]; }
  int32_t& intAt(int64_t i) { return reinterpret_cast<int32_t&>(at(i)); }

  Operand operand(DType dtype = DType::f32) const {
    Operand o;
    o.data = const_cast<float*>(data_.data()) + kMargin;
    o.dtype = dtype;
    o.rank = static_cast<int>(shape_.size());
    for (int i = 0; i < o.rank; i++) o.shape[i] = shape_[i];
    o.pitch = pitch();
    return o;
  }

  bool sentinelsIntact() const {
    for (int64_t i = 0; i < static_cast<int64_t>(data_.size()); i++) {
      const int64_t j = i - kMargin;
      if (j >= 0 && j / pitch() < rows() && j % pitch() < cols()) continue;
      if (std::memcmp(&data_[i], &kSentinel, 4) != 0) return false;
    }
    return true;
  }

  bool sameBits(const Tensor& other) const {
    if (shape_ != other.shape_) return false;
    for (int64_t i = 0; i < size(); i++) {
      const float a = at(i), b = other.at(i);
      if (std::memcmp(&a, &b, 4) != 0) return false;
    }
    return true;
  }

 private:
  Tensor copy(const Shape& shape, int64_t gap, int64_t from) const {
    Tensor t(shape, gap);
    for (int64_t i = 0; i < t.size(); i++) t.at(i) = at(from + i);
    return t;
  }

  Shape shape_;
  int64_t gap_ = 0;
  std::vector<float, CacheLineAllocator<float>> data_;
};

using Words = std::vector<double>;

inline Words ints(std::initializer_list<int64_t> values) {
  Words words = {static_cast<double>(values.size())};
  for (int64_t v : values) words.push_back(static_cast<double>(v));
  return words;
}

inline Words join(std::initializer_list<Words> lists) {
  Words all;
  for (const Words& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

}  // namespace langevin
