// Small CUDA kernels, each right as it stands and wrong with a bug of a name: proof that running kernels on the host finds
// bugs. Usage: planted_bugs BUG; "none" runs all kernels as they should be.
//
// Exits with 0 where all results are right under all schedules, with 1 where one is wrong; a fault that the host or a
// sanitizer reports ends the program in its own way.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../cuda/gpu.h"
#include "../cuda/persistent/sampler.h"
#include "cuda/sketch.h"
#include "tensors.h"

namespace {

enum class Bug {
  none,
  missingBarrier,
  divergentBarrier,
  divergentShuffle,
  missingWarpBarrier,
  sharedOverrun,
  dynamicOverrun,
  globalOverrun,
  globalUnderrun,
  offByOne,
  uninitialised,
  missedWait,
  forgottenWait,
  earlyOverwrite,
  raceBetweenBlocks,
  misalignedCopy,
  tooMuchShared,
  missingRound,
};

constexpr unsigned kBlock = 128, kWarps = kBlock / 32;

// sums[block] = sum of the block's part of x, n elements in all.
template <Bug bug>
__global__ void __launch_bounds__(kBlock) sumBlocks(const float* x, float* sums, int n) {
  GPU_SHARED(float, partial, kWarps);
  const int i = static_cast<int>(blockIdx.x * kBlock + threadIdx.x);
  float sum = i < n ? x[i] : 0;
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (bug == Bug::divergentShuffle && lane < 16) sum += __shfl_xor_sync(gpu::kAllLanes, sum, 16);
  if (bug != Bug::divergentShuffle || lane >= 16) sum += __shfl_xor_sync(gpu::kAllLanes, sum, 16);
  for (int distance = 8; distance > 0; distance /= 2) sum += __shfl_xor_sync(gpu::kAllLanes, sum, distance);
  if (bug == Bug::divergentBarrier && i >= n) return;
  if (lane == 0) partial[bug == Bug::sharedOverrun ? warp + 1 : warp] = sum;
  if (bug == Bug::sharedOverrun && threadIdx.x == 0) partial[0] = sum;
  if (bug != Bug::missingBarrier) __syncthreads();
  if (threadIdx.x != 0) return;
  float total = 0;
  for (unsigned w = 0; w < kWarps; w++) total += partial[w];
  sums[blockIdx.x] = total;
}

// y[i] = x[i + 1] - x[i], through a tile that reaches one element further.
template <Bug bug>
__global__ void __launch_bounds__(kBlock) subtractNeighbours(const float* x, float* y, int n) {
  GPU_DYNAMIC_SHARED(memory);
  float* const tile = reinterpret_cast<float*>(memory);
  const int first = static_cast<int>(blockIdx.x * kBlock), i = static_cast<int>(threadIdx.x);
  const int count = n - first < static_cast<int>(kBlock) ? n - first : static_cast<int>(kBlock);
  if (i < count && !(bug == Bug::uninitialised && i == 5)) tile[i] = x[first + i];
  if (i == 0) tile[bug == Bug::dynamicOverrun ? kBlock + 1 : count] = x[first + count];
  if (bug == Bug::dynamicOverrun && i == 0) tile[count] = x[first + count];
  __syncthreads();
  if (bug == Bug::globalUnderrun && first + i == 0) y[-1] = 0;
  if (bug == Bug::globalOverrun ? i <= count - (first + count == n ? 0 : 1) : i < count)
    y[first + i] = (bug == Bug::offByOne && i > 0 ? tile[i] - tile[i - 1] : tile[i + 1] - tile[i]);
}

// y[i] = x[i] + x[i ^ 1], where neighbouring lanes meet in shared memory.
template <Bug bug>
__global__ void __launch_bounds__(kBlock) addPairs(const float* x, float* y) {
  // More than a kernel may have that was not allowed it: nvcc refuses this one, but not the same in dynamic memory.
  GPU_SHARED(float, pairs, bug == Bug::tooMuchShared ? 13 * 1024 : kBlock);
  const unsigned i = blockIdx.x * kBlock + threadIdx.x;
  pairs[threadIdx.x] = x[i];
  if (bug != Bug::missingWarpBarrier) __syncwarp();
  y[i] = x[i] + pairs[threadIdx.x ^ 1];
}

// sums[c] = sum over `rows` rows of x [rows, 4 * kBlock]: rows come by asynchronous copies, two ahead of the sum, and each
// thread sums what its neighbour has copied.
template <Bug bug>
__global__ void __launch_bounds__(kBlock) sumRows(const float* x, float* sums, int rows) {
  constexpr int stages = 2, width = 4 * kBlock;
  GPU_SHARED(float, buffer, stages* width);
  const int mine = 4 * static_cast<int>(threadIdx.x), other = (mine + 4 * 37) % width;
  const auto load = [&](int row) {
    const int shift = bug == Bug::misalignedCopy ? 1 : 0;
    if (row < rows) gpu::copyAsync<16>(buffer + row % stages * width + mine, x + row * width + mine + shift, true);
    gpu::commitCopies();
  };
  float sum[4] = {0, 0, 0, 0};
  load(0);
  for (int row = 0; row < rows; row++) {
    load(row + 1);
    if (bug == Bug::missedWait)
      gpu::waitCopies<2>();
    else if (bug != Bug::forgottenWait)
      gpu::waitCopies<1>();
    __syncthreads();
    for (int k = 0; k < 4; k++) sum[k] += buffer[row % stages * width + other + k];
    if (bug != Bug::earlyOverwrite) __syncthreads();
  }
  if (bug == Bug::missedWait) gpu::waitCopies<0>();
  for (int k = 0; k < 4; k++) sums[other + k] = sum[k];
}

// counts[x % 4] += 1 for each element.
template <Bug bug>
__global__ void __launch_bounds__(kBlock) count(const int* x, int* counts) {
  int* const at = counts + x[blockIdx.x * kBlock + threadIdx.x] % 4;
  if (bug == Bug::raceBetweenBlocks)
    ++*at;
  else
    atomicAdd(at, 1);
}

bool near(float a, double b) { return std::fabs(static_cast<double>(a) - b) <= 1e-4; }

std::vector<float> numbers(int n) {
  std::vector<float> x(static_cast<size_t>(n));
  for (int i = 0; i < n; i++) x[i] = static_cast<float>((i * 7919) % 1009) / 1009.0f - 0.4f;
  return x;
}

// Results between margins that must stay as they are; exactly so large where the address sanitizer watches them.
class Results {
 public:
  explicit Results(size_t n) : n_(n), memory_(n + 2 * margin, untouched) {
    for (size_t i = 0; i < n; i++) data()[i] = __builtin_nanf("");
  }
  float* data() { return memory_.data() + margin; }
  bool marginsIntact() const {
    for (size_t i = 0; i < margin; i++)
      if (memory_[i] != untouched || memory_[margin + n_ + i] != untouched) return false;
    return true;
  }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t margin = 0;
#else
  static constexpr size_t margin = 16;
#endif
  static constexpr float untouched = 12345.0f;
  size_t n_;
  std::vector<float> memory_;
};

template <Bug bug>
bool sumsAreRight() {
  constexpr int n = 5 * kBlock - 50;
  const std::vector<float> x = numbers(n);
  Results sums(5);
  GPU_LAUNCH(sumBlocks<bug>, dim3(5), dim3(kBlock), nullptr, x.data(), sums.data(), n);
  for (int b = 0; b < 5; b++) {
    double sum = 0;
    for (int i = b * static_cast<int>(kBlock); i < n && i < (b + 1) * static_cast<int>(kBlock); i++) sum += x[i];
    if (!near(sums.data()[b], sum)) return false;
  }
  return sums.marginsIntact();
}

template <Bug bug>
bool differencesAreRight() {
  constexpr int n = 3 * kBlock - 17;
  const std::vector<float> x = numbers(n + 2);
  Results y(n);
  GPU_LAUNCH_SHARED(subtractNeighbours<bug>, dim3(3), dim3(kBlock), (kBlock + 1) * sizeof(float), nullptr, x.data(), y.data(),
                    n);
  for (int i = 0; i < n; i++)
    if (!near(y.data()[i], static_cast<double>(x[i + 1]) - static_cast<double>(x[i]))) return false;
  return y.marginsIntact();
}

template <Bug bug>
bool pairsAreRight() {
  constexpr int n = 2 * kBlock;
  const std::vector<float> x = numbers(n);
  Results y(n);
  GPU_LAUNCH(addPairs<bug>, dim3(2), dim3(kBlock), nullptr, x.data(), y.data());
  for (int i = 0; i < n; i++)
    if (!near(y.data()[i], static_cast<double>(x[i]) + static_cast<double>(x[i ^ 1]))) return false;
  return y.marginsIntact();
}

template <Bug bug>
bool rowsAreRight() {
  constexpr int rows = 9, width = 4 * kBlock;
  const std::vector<float> x = numbers(rows * width + 4);
  Results sums(width);
  // Rows start at 16 bytes: malloc aligns to as much.
  GPU_LAUNCH(sumRows<bug>, dim3(1), dim3(kBlock), nullptr, x.data(), sums.data(), rows);
  for (int c = 0; c < width; c++) {
    double sum = 0;
    for (int r = 0; r < rows; r++) sum += static_cast<double>(x[r * width + c]);
    if (!near(sums.data()[c], sum)) return false;
  }
  return sums.marginsIntact();
}

template <Bug bug>
bool countsAreRight() {
  constexpr int n = 64 * kBlock;
  std::vector<int> x(n), counts(4, 0);
  for (int i = 0; i < n; i++) x[i] = i;
  GPU_LAUNCH(count<bug>, dim3(64), dim3(kBlock), nullptr, x.data(), counts.data());
  for (int c : counts)
    if (c != n / 4) return false;
  return true;
}

// y = the largest of each pixel's neighbours in x times 4, through a convolution whose weights are all 1/4 and whose 16 source
// channels are alike: two instructions of the persistent sampler. The bug is in their list: the second one does not wait.
template <Bug bug>
bool samplerIsRight() {
  using namespace langevin;
  using namespace langevin::cuda;
  constexpr int side = 6, pixels = 2 * side * side, inner = 16, outer = 32;
  const std::vector<float> values = numbers(pixels);
  Tensor x({2, side, side, inner}), weights({1, 1, inner, outer}), between({2, side, side, outer}), y({2, side, side, outer});
  for (int64_t i = 0; i < x.size(); i++) x.at(i) = values[i / inner];
  for (int64_t i = 0; i < weights.size(); i++) weights.at(i) = 0.25f;
  const Words product = join({ints({1, 1}), ints({0, 0, 0, 0}), ints({1, 1})});
  const Words pool = join({ints({3, 3}), ints({1, 1}), ints({1, 1, 1, 1})});
  Sketch sketch;
  sketch.add("conv2d", {x.operand(), weights.operand()}, between.operand(), AttributeReader(product.data()));
  sketch.add("maxPool2d", {between.operand()}, y.operand(), AttributeReader(pool.data()));
  sketch.addTemporary(between.operand(), 0, 1);
  const persistent::Device device = {size_t{200} << 10, persistent::Products::tf32x3, 132};
  const persistent::Decision decision = persistent::planPersistent(sketch.finish(), device);
  if (decision.sampler == nullptr) return false;
  if (bug == Bug::missingRound) decision.sampler->instructions[1].waits = false;
  std::vector<float4> memory(persistent::bytesOf(*decision.sampler) / sizeof(float4) + 1);
  Progress progress{};
  const persistent::Run run =
      persistent::placeAt(reinterpret_cast<char*>(memory.data()), *decision.sampler, &progress, std::memcpy);
  persistent::enqueuePacking(nullptr, run);
  persistent::enqueueSteps(nullptr, run, *decision.sampler, 1);
  for (int pixel = 0; pixel < pixels; pixel++) {
    float most = -1;
    for (int other = 0; other < pixels; other++) {
      const bool sameImage = pixel / (side * side) == other / (side * side);
      const int rows = pixel / side - other / side, columns = pixel % side - other % side;
      if (sameImage && std::abs(rows) <= 1 && std::abs(columns) <= 1) most = std::fmax(most, values[other]);
    }
    for (int channel = 0; channel < outer; channel++)
      if (!near(y.at(pixel * outer + channel), 4.0 * static_cast<double>(most))) return false;
  }
  return true;
}

using Check = bool (*)();

struct Plant {
  const char* name;
  std::vector<Check> checks;
};

const Plant plants[] = {
    {"none",
     {sumsAreRight<Bug::none>, differencesAreRight<Bug::none>, pairsAreRight<Bug::none>, rowsAreRight<Bug::none>,
      countsAreRight<Bug::none>, samplerIsRight<Bug::none>}},
    {"missing barrier", {sumsAreRight<Bug::missingBarrier>}},
    {"divergent barrier", {sumsAreRight<Bug::divergentBarrier>}},
    {"divergent shuffle", {sumsAreRight<Bug::divergentShuffle>}},
    {"missing warp barrier", {pairsAreRight<Bug::missingWarpBarrier>}},
    {"shared overrun", {sumsAreRight<Bug::sharedOverrun>}},
    {"dynamic overrun", {differencesAreRight<Bug::dynamicOverrun>}},
    {"global overrun", {differencesAreRight<Bug::globalOverrun>}},
    {"global underrun", {differencesAreRight<Bug::globalUnderrun>}},
    {"off by one", {differencesAreRight<Bug::offByOne>}},
    {"uninitialised", {differencesAreRight<Bug::uninitialised>}},
    {"missed wait", {rowsAreRight<Bug::missedWait>}},
    {"forgotten wait", {rowsAreRight<Bug::forgottenWait>}},
    {"early overwrite", {rowsAreRight<Bug::earlyOverwrite>}},
    {"race between blocks", {countsAreRight<Bug::raceBetweenBlocks>}},
    {"misaligned copy", {rowsAreRight<Bug::misalignedCopy>}},
    {"too much shared", {pairsAreRight<Bug::tooMuchShared>}},
    {"missing round", {samplerIsRight<Bug::missingRound>}},
};

}  // namespace

int main(int count, char** arguments) {
  const std::string asked = count == 2 ? arguments[1] : "";
  for (const Plant& plant : plants) {
    if (asked != plant.name) continue;
    for (uint64_t seed = 0; seed < 6; seed++) {
      gpu::host::setSchedule({seed, 2});
      for (const Check check : plant.checks)
        if (!check()) {
          std::printf("wrong with seed %d\n", static_cast<int>(seed));
          return 1;
        }
    }
    std::printf("right\n");
    return 0;
  }
  std::fprintf(stderr, "usage: planted_bugs BUG, one of:\n");
  for (const Plant& plant : plants) std::fprintf(stderr, "  %s\n", plant.name);
  return 2;
}
