// What one instruction looks like to a kernel: resolved operands and attributes in the order of its signature.
#pragma once

#include <cstddef>
#include <cstdint>

// Kernels are compiled once for each instruction set. A function of this header that was not inlined would become a weak
// symbol in each of those objects, and the linker could keep the AVX-512 copy for an old processor. Hence: always inline.
#define LANGEVIN_INLINE inline __attribute__((always_inline))

namespace langevin {

// bf16 is of no tensor: float32 numbers of which memory holds the upper 16 bits, as factors of products on CUDA may lie there.
enum class DType : int { f32 = 0, i32 = 1, f64 = 2, bf16 = 3 };

LANGEVIN_INLINE size_t bytesOf(DType dtype) { return dtype == DType::f64 ? 8 : dtype == DType::bf16 ? 2 : 4; }

constexpr int kMaxRank = 8;

// A rectangular view of a buffer; `data` already includes the offset. Elements of the last axis are adjacent, rows of the
// last axis lie `pitch` elements apart, and outer axes are dense over rows.
struct Operand {
  void* data = nullptr;
  DType dtype = DType::f32;
  int rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t pitch = 1;

  // Zero-size operands have a non-null pointer, too: only an absent optional input has none.
  LANGEVIN_INLINE bool present() const { return data != nullptr; }

  // Size of axis i; a negative i counts from the end.
  LANGEVIN_INLINE int64_t dim(int i) const { return shape[i < 0 ? i + rank : i]; }

  LANGEVIN_INLINE int64_t rows() const {
    int64_t n = 1;
    for (int i = 0; i + 1 < rank; i++) n *= shape[i];
    return n;
  }

  LANGEVIN_INLINE int64_t cols() const { return rank == 0 ? 1 : shape[rank - 1]; }

  LANGEVIN_INLINE int64_t size() const { return rows() * cols(); }

  LANGEVIN_INLINE bool dense() const { return pitch == cols() || rows() <= 1; }

  // Distance in elements between neighbours along each axis.
  LANGEVIN_INLINE void strides(int64_t out[kMaxRank]) const {
    for (int i = rank - 1; i >= 0; i--)
      out[i] = i == rank - 1 ? 1 : i == rank - 2 ? pitch : out[i + 1] * shape[i + 1];
  }

  template <class T>
  LANGEVIN_INLINE T* as() const {
    return static_cast<T*>(data);
  }
};

// An attribute of kind `ints`; longer lists are refused when the command is submitted.
struct Ints {
  int64_t n = 0;
  int64_t v[kMaxRank] = {};
  LANGEVIN_INLINE int64_t operator[](int64_t i) const { return v[i]; }
};

// Hands out the attribute words in signature order. Their number was checked against the signature on submission.
class AttributeReader {
 public:
  AttributeReader() = default;
  LANGEVIN_INLINE explicit AttributeReader(const double* words) : next_(words) {}

  LANGEVIN_INLINE const double* position() const { return next_; }

  // An int, or the index of an enumeration's literal.
  LANGEVIN_INLINE int64_t i() { return static_cast<int64_t>(*next_++); }
  LANGEVIN_INLINE double f() { return *next_++; }
  LANGEVIN_INLINE bool b() { return *next_++ != 0; }
  LANGEVIN_INLINE Ints ints() {
    Ints list;
    list.n = i();
    for (int64_t k = 0; k < list.n; k++) list.v[k] = i();
    return list;
  }
  LANGEVIN_INLINE uint64_t seed() {
    const uint64_t low = static_cast<uint64_t>(*next_++);
    const uint64_t high = static_cast<uint64_t>(*next_++);
    return high << 32 | low;
  }

 private:
  const double* next_ = nullptr;
};

// One instruction. In-place ops have no output (`output.present()` is false) and overwrite some of their inputs.
struct Command {
  Operand output;
  Operand* inputs = nullptr;
  int inputCount = 0;
  AttributeReader attributes;
  // Of a part of a tensor: the number of its first image, from which noise is counted.
  int64_t firstImage = 0;

  // For optional inputs at the end of the list.
  LANGEVIN_INLINE bool has(int i) const { return i < inputCount && inputs[i].present(); }
};

}  // namespace langevin
