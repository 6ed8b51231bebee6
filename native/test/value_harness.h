// Runs kernels for the checks of native/test: dense and pitched, between sentinels, on 1, 2 and 5 threads, which must all
// give the same bits. Compile with the flags of one instruction set and -DLANGEVIN_ISA=..., together with the kernels,
// native/core and native/cpu.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "../core/registry.h"
#include "../core/scratch.h"
#include "../cpu/thread_pool.h"
#include "../noise/philox.h"

#if defined(__APPLE__)
#define SECTION_START "section$start$__DATA$lv_kernels"
#define SECTION_END "section$end$__DATA$lv_kernels"
#else
#define SECTION_START "__start_langevin_kernels"
#define SECTION_END "__stop_langevin_kernels"
#endif
extern "C" __attribute__((visibility("hidden"))) const langevin::KernelRecord* testFirst[] __asm__(SECTION_START);
extern "C" __attribute__((visibility("hidden"))) const langevin::KernelRecord* testEnd[] __asm__(SECTION_END);

using namespace langevin;
using Shape = std::vector<int64_t>;
using Words = std::vector<double>;

inline long failures = 0;
inline uint64_t checksum = 14695981039346656037ull;  // FNV-1a

inline void fail(const std::string& what) {
  if (failures++ < 40) std::printf("FAIL %s\n", what.c_str());
}

inline uint32_t bits(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return u;
}
inline float fromBits(uint32_t u) {
  float x;
  std::memcpy(&x, &u, 4);
  return x;
}

inline uint32_t randomState = 12345;
inline uint32_t randomWord() {
  randomState = randomState * 1664525u + 1013904223u;
  return randomState ^ randomState >> 15;
}
inline double uniform(double low, double high) { return low + (high - low) * randomWord() / 4294967296.0; }

// Logical contents, in row-major order, as bits.
struct Value {
  Shape shape;
  DType dtype = DType::f32;
  std::vector<uint32_t> words;

  int64_t size() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }
  float f(int64_t i) const { return fromBits(words[i]); }
  int32_t i(int64_t k) const { return static_cast<int32_t>(words[k]); }
};

inline Value empty(const Shape& shape, DType dtype = DType::f32) {
  Value v{shape, dtype, {}};
  v.words.resize(v.size());
  return v;
}
inline Value floats(const Shape& shape, double low = -1, double high = 1) {
  Value v = empty(shape);
  for (auto& w : v.words) w = bits(static_cast<float>(uniform(low, high)));
  return v;
}
inline Value ints(const Shape& shape, int64_t low, int64_t high) {
  Value v = empty(shape, DType::i32);
  for (auto& w : v.words) w = static_cast<uint32_t>(low + static_cast<int64_t>(randomWord() % (high - low)));
  return v;
}
inline Value given(const std::vector<float>& list) {
  Value v = empty({static_cast<int64_t>(list.size())});
  for (size_t i = 0; i < list.size(); i++) v.words[i] = bits(list[i]);
  return v;
}

// A value laid out with `gap` sentinels after every row and some around all.
class Placed {
 public:
  Placed(const Value& value, int64_t gap) : value_(value) {
    cols_ = value.shape.empty() ? 1 : value.shape.back();
    rows_ = cols_ == 0 ? 0 : value.size() / cols_;
    pitch_ = cols_ + gap;
    store_.assign(2 * kMargin + rows_ * pitch_, kSentinel);
    for (int64_t i = 0; i < value.size(); i++) store_[place(i)] = value.words[i];
  }
  Operand operand() {
    Operand o;
    o.data = store_.data() + kMargin;
    o.dtype = value_.dtype;
    o.rank = static_cast<int>(value_.shape.size());
    for (int i = 0; i < o.rank; i++) o.shape[i] = value_.shape[i];
    o.pitch = pitch_;
    return o;
  }
  Value read(const std::string& what) const {
    Value v = value_;
    std::vector<bool> used(store_.size(), false);
    for (int64_t i = 0; i < v.size(); i++) {
      v.words[i] = store_[place(i)];
      used[place(i)] = true;
    }
    for (size_t i = 0; i < store_.size(); i++)
      if (!used[i] && store_[i] != kSentinel) {
        fail(what + ": wrote between or around the rows");
        break;
      }
    return v;
  }

 private:
  static constexpr int64_t kMargin = 19;  // no multiple of a vector
  static constexpr uint32_t kSentinel = 0x7FEDCBA9u;
  int64_t place(int64_t i) const { return kMargin + i / cols_ * pitch_ + i % cols_; }

  Value value_;
  int64_t cols_, rows_, pitch_;
  std::vector<uint32_t> store_;
};

inline Kernel kernelOf(const std::string& name) {
  for (auto record = testFirst; record < testEnd; record++)
    if ((*record)->name == name) return (*record)->run;
  std::printf("no kernel %s\n", name.c_str());
  std::exit(1);
}

inline ThreadPool pools[3] = {ThreadPool(1), ThreadPool(2), ThreadPool(5)};

// Runs a kernel in all ways; returns what it wrote: the output, or the written inputs of an in-place op.
inline std::vector<Value> run(const std::string& name, const Words& attributes, const std::vector<Value>& inputs,
                              const Value* output, const std::vector<int>& writes = {}) {
  const Kernel kernel = kernelOf(name);
  std::vector<Value> first;
  for (int64_t gap : {0, 5, 16}) {
    for (ThreadPool& pool : pools) {
      if (gap == 16 && &pool != &pools[1]) continue;  // dense and pitched operands together
      std::vector<Placed> placed;
      for (size_t k = 0; k < inputs.size(); k++) placed.emplace_back(inputs[k], gap == 16 && k % 2 ? 0 : gap);
      std::vector<Operand> operands;
      for (size_t k = 0; k < inputs.size(); k++) {
        operands.push_back(placed[k].operand());
        if (inputs[k].shape.size() == 1 && inputs[k].shape[0] == -1) operands.back() = Operand();
      }
      std::vector<Placed> out;
      if (output) {
        Value poisoned = *output;
        for (auto& w : poisoned.words) w = 0x7FABCDEFu;
        out.emplace_back(poisoned, gap);
      }
      Command command;
      if (output) command.output = out[0].operand();
      command.inputs = operands.data();
      command.inputCount = static_cast<int>(operands.size());
      command.attributes = AttributeReader(attributes.data());
      ScratchMemory scratch;
      Context context(pool, scratch);
      kernel(command, context);
      if (context.failed()) fail(name + ": " + context.message());
      std::vector<Value> results;
      if (output) results.push_back(out[0].read(name));
      for (int k : writes) results.push_back(placed[k].read(name));
      for (size_t k = 0; k < inputs.size(); k++) {
        bool written = false;
        for (int w : writes) written = written || static_cast<int>(k) == w;
        if (!written && placed[k].read(name).words != inputs[k].words) fail(name + ": changed an input");
      }
      if (first.empty()) first = results;
      for (size_t k = 0; k < results.size(); k++)
        if (results[k].words != first[k].words)
          fail(name + ": bits differ with gap " + std::to_string(gap) + " on " + std::to_string(pool.threads()) +
               " threads");
    }
  }
  for (const Value& v : first)
    for (uint32_t w : v.words) {
      // Which NaN comes out is up to the processor.
      const bool nan = v.dtype == DType::f32 && std::isnan(fromBits(w));
      checksum = (checksum ^ (nan ? 0x7FC00000u : w)) * 1099511628211ull;
    }
  return first;
}

inline bool same(float a, float b) { return bits(a) == bits(b) || (std::isnan(a) && std::isnan(b)); }

// Distance in units of the last place of the wanted value, as float32.
inline double ulps(float got, double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : 1e30;
  const float rounded = static_cast<float>(want);
  if (std::isinf(rounded) || std::isinf(got))
    return rounded == got ? 0 : std::isinf(want) || !std::isinf(rounded) ? 1e30 : 1;
  const double unit =
      std::max(std::ldexp(1.0, std::ilogb(rounded == 0 ? 1e-45f : rounded) - 23), std::ldexp(1.0, -149));
  return std::fabs(static_cast<double>(got) - want) / unit;
}

inline std::string text(const Shape& shape) {
  std::string s = "[";
  for (int64_t d : shape) s += (s.size() > 1 ? "," : "") + std::to_string(d);
  return s + "]";
}

// Strides of `shape` when broadcast to `to`.
inline Shape stridesIn(const Shape& shape, const Shape& to) {
  Shape strides(to.size(), 0);
  int64_t stride = 1;
  for (size_t i = 0; i < shape.size(); i++) {
    const size_t axis = shape.size() - 1 - i;
    if (shape[axis] != 1) strides[to.size() - 1 - i] = stride;
    stride *= shape[axis];
  }
  return strides;
}
inline int64_t offsetOf(int64_t index, const Shape& shape, const Shape& strides) {
  int64_t offset = 0;
  for (size_t i = shape.size(); i-- > 0;) {
    offset += index % shape[i] * strides[i];
    index /= shape[i];
  }
  return offset;
}

inline void expectFloat(const std::string& what, const Value& got, int64_t i, float want) {
  if (!same(got.f(i), want))
    fail(what + " at " + std::to_string(i) + ": got " + std::to_string(got.f(i)) + ", expected " +
         std::to_string(want));
}
inline void expectInt(const std::string& what, const Value& got, int64_t i, int32_t want) {
  if (got.i(i) != want)
    fail(what + " at " + std::to_string(i) + ": got " + std::to_string(got.i(i)) + ", expected " +
         std::to_string(want));
}

inline Shape broadcastShape(const Shape& a, const Shape& b) {
  Shape shape(std::max(a.size(), b.size()), 1);
  for (size_t i = 1; i <= shape.size(); i++) {
    const int64_t m = i <= a.size() ? a[a.size() - i] : 1, n = i <= b.size() ? b[b.size() - i] : 1;
    shape[shape.size() - i] = m == 1 ? n : m;
  }
  return shape;
}

inline Words attributeInts(const std::vector<int64_t>& list) {
  Words words{static_cast<double>(list.size())};
  for (int64_t v : list) words.push_back(static_cast<double>(v));
  return words;
}

// An optional operand that is not there.
inline const Value kAbsent{{-1}, DType::f32, {}};

// A dtype that a kernel does not have must be refused, not misread.
inline void checkRefusals() {
  for (auto record = testFirst; record < testEnd; record++) {
    const std::string name = (*record)->name;
    if (name == "fill") continue;  // any dtype
    double storage[64] = {};
    Operand odd;
    odd.data = storage;
    odd.dtype = DType::f64;
    odd.rank = 1;
    odd.shape[0] = 1;
    Operand inputs[5] = {odd, odd, odd, odd, odd};
    const double attributes[32] = {};
    Command command;
    command.output = odd;
    command.inputs = inputs;
    command.inputCount = 4;
    command.attributes = AttributeReader(attributes);
    ScratchMemory scratch;
    Context context(pools[0], scratch);
    (*record)->run(command, context);
    if (!context.failed()) fail(name + " accepts float64");
  }
}

// Prints the checksum of all results, which is the same for every instruction set; returns the program's status.
inline int finish() {
  checkRefusals();
  std::printf("checksum %016llx\n", static_cast<unsigned long long>(checksum));
  std::printf("%s: %ld failures\n", LANGEVIN_ISA_NAME, failures);
  return failures ? 1 : 0;
}
