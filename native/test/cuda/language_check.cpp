// Checks the words of gpu.h, as the host understands them: warp operations, votes, atomics, copies and tensor cores.
#include "../../cuda/gpu.h"
#include "suite.h"

namespace langevin {
namespace cuda {
namespace {

// Rows of 64 results, one for each thread of two warps.
enum Row { kShuffle, kXor, kDown, kUp, kHalves, kBallot, kAny, kAll, kCount, kOr, kDouble, kRows };
constexpr int kThreads = 64;

__global__ void __launch_bounds__(kThreads) meet(float* y) {
  const unsigned thread = threadIdx.x, lane = thread % 32;
  const float value = static_cast<float>(thread);
  const auto put = [=](Row row, float x) { y[row * kThreads + thread] = x; };
  put(kShuffle, __shfl_sync(gpu::kAllLanes, value, 5));
  put(kXor, __shfl_xor_sync(gpu::kAllLanes, value, 9));
  put(kDown, __shfl_down_sync(gpu::kAllLanes, value, 3));
  put(kUp, __shfl_up_sync(gpu::kAllLanes, value, 3));
  // The halves of a warp meet apart.
  const uint32_t half = lane < 16 ? 0x0000FFFFu : 0xFFFF0000u;
  put(kHalves, __shfl_sync(half, value, lane < 16 ? 2 : 20));
  put(kBallot, static_cast<float>(__ballot_sync(gpu::kAllLanes, lane % 8 == 1) >> 9));
  put(kAny, __any_sync(gpu::kAllLanes, thread == 40) ? 1.0f : 0.0f);
  put(kAll, __all_sync(gpu::kAllLanes, thread < 60) ? 1.0f : 0.0f);
  put(kCount, static_cast<float>(__syncthreads_count(thread % 3 == 0)));
  put(kOr, __syncthreads_or(thread == 33) != 0 ? 1.0f : 0.0f);
  put(kDouble, static_cast<float>(__shfl_xor_sync(gpu::kAllLanes, 0.5 + thread, 1)));
}

double expectedOf(int row, int thread) {
  const int lane = thread % 32, first = thread - lane;
  switch (row) {
    case kShuffle: return first + 5;
    case kXor: return first + (lane ^ 9);
    case kDown: return lane + 3 < 32 ? thread + 3 : thread;
    case kUp: return lane >= 3 ? thread - 3 : thread;
    case kHalves: return first + (lane < 16 ? 2 : 20);
    case kBallot: return 0x00010101;  // bits 9, 17, 25
    case kAny: return first == 32;
    case kAll: return first == 0;
    case kCount: return 22;
    case kOr: return 1;
    default: return 0.5 + (thread ^ 1);
  }
}

// Results of atomics by all threads of four blocks.
enum Cell { kAdd, kMax, kMin, kBits, kSwapped, kFloat, kCells };

__global__ void __launch_bounds__(kThreads) compete(int* cells, float* sum) {
  const int number = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  atomicAdd(cells + kAdd, number);
  atomicMax(cells + kMax, (number * 37) % 256);
  atomicMin(cells + kMin, (number * 37) % 256 - 300);
  atomicOr(cells + kBits, 1 << number % 20);
  if (atomicCAS(cells + kSwapped, 0, 1) == 0) atomicExch(cells + kFloat, 77);
  atomicAdd(sum, 0.25f);
}

// y [16, 8] = a [16, depth] b [depth, 8]^T by one instruction, through shared memory, asynchronous copies and ldmatrix. b is
// stored as [8, depth] (`alongK`) or as [depth, 8].
template <bool alongK>
__global__ void __launch_bounds__(32) multiplyBf16(const gpu::Bf16* a, const gpu::Bf16* b, float* y) {
  GPU_SHARED(gpu::Bf16, rows, 16 * 16);
  GPU_SHARED(gpu::Bf16, columns, 16 * 8);
  const int lane = static_cast<int>(threadIdx.x);
  gpu::copyAsync<16>(rows + lane * 8, a + lane * 8, true);
  gpu::commitCopies();
  gpu::copyAsync<8>(columns + lane * 4, b + lane * 4, true);
  gpu::commitCopies();
  gpu::waitCopies<0>();
  __syncwarp();
  uint32_t x[4], w[2];
  gpu::ldmatrix(x, rows + lane % 16 * 16 + lane / 16 * 8);
  if (alongK)
    gpu::ldmatrix(w, columns + lane % 8 * 16 + lane / 8 % 2 * 8);
  else
    gpu::ldmatrixTransposed(w, columns + lane % 16 * 8);
  float d[4] = {0, 0, 0, 0};
  gpu::mmaBf16(d, x, w);
  for (int i = 0; i < 4; i++) y[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

__global__ void __launch_bounds__(32) multiplyTf32(const float* a, const float* b, float* y) {
  GPU_SHARED(float, rows, 16 * 8);
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 4; i++) gpu::copyAsync<4>(rows + i * 32 + lane, a + i * 32 + lane, i < 3 || lane < 31);
  gpu::commitCopies();
  gpu::waitCopies<0>();
  __syncwarp();
  uint32_t x[4], one[1];
  gpu::ldmatrix(x, rows + lane % 16 * 8 + lane / 16 * 4);
  gpu::ldmatrix(one, rows + lane % 8 * 8);
  const uint32_t w[2] = {gpu::toTf32(b[lane / 4 * 8 + lane % 4]), gpu::toTf32(b[lane / 4 * 8 + lane % 4 + 4])};
  float d[4] = {0, 0, 0, 0};
  gpu::mmaTf32(d, x, w);
  for (int i = 0; i < 4; i++) y[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
  y[128 + lane] = gpu::floatFromBits(one[0]);
}

void checkMeetings() {
  std::vector<float> y(kRows * kThreads, __builtin_nanf(""));
  GPU_LAUNCH(meet, dim3(1), dim3(kThreads), nullptr, y.data());
  bool good = true;
  for (int row = 0; row < kRows; row++)
    for (int thread = 0; thread < kThreads; thread++)
      good = good && static_cast<double>(y[row * kThreads + thread]) == expectedOf(row, thread);
  expect(good, "warp operations and votes", "wrong value");
}

void checkAtomics() {
  std::vector<int> cells(kCells, 0);
  float sum = 0;
  GPU_LAUNCH(compete, dim3(4), dim3(kThreads), nullptr, cells.data(), &sum);
  const std::vector<int> expected = {255 * 128, 255, -300, (1 << 20) - 1, 1, 77};
  expect(cells == expected && sum == 64.0f, "atomics", "wrong value");
}

// Small integers: every sum is exact.
float entry(int64_t i) { return static_cast<float>((i * 7) % 11 - 5); }

void checkTensorCores() {
  std::vector<gpu::Bf16> a(16 * 16), b(16 * 8), turned(16 * 8);
  for (int i = 0; i < 256; i++) a[i].bits = static_cast<uint16_t>(gpu::packBf16(entry(i), 0));
  for (int n = 0; n < 8; n++)
    for (int k = 0; k < 16; k++)
      b[n * 16 + k].bits = turned[k * 8 + n].bits = static_cast<uint16_t>(gpu::packBf16(entry(n * 16 + k + 3), 0));
  std::vector<float> y(128, __builtin_nanf("")), transposed = y;
  GPU_LAUNCH(multiplyBf16<true>, dim3(1), dim3(32), nullptr, a.data(), b.data(), y.data());
  GPU_LAUNCH(multiplyBf16<false>, dim3(1), dim3(32), nullptr, a.data(), turned.data(), transposed.data());
  std::vector<float> x(128), w(64), z(160, __builtin_nanf(""));
  for (int i = 0; i < 128; i++) x[i] = entry(i);
  for (int i = 0; i < 64; i++) w[i] = entry(i + 5);
  GPU_LAUNCH(multiplyTf32, dim3(1), dim3(32), nullptr, x.data(), w.data(), z.data());
  x[127] = 0;  // which was not copied
  bool good = true;
  for (int m = 0; m < 16; m++)
    for (int n = 0; n < 8; n++) {
      float bf16 = 0, tf32 = 0;
      for (int k = 0; k < 16; k++) bf16 += gpu::toFloat(a[m * 16 + k]) * gpu::toFloat(b[n * 16 + k]);
      for (int k = 0; k < 8; k++) tf32 += x[m * 8 + k] * w[n * 8 + k];
      good = good && y[m * 8 + n] == bf16 && transposed[m * 8 + n] == bf16 && z[m * 8 + n] == tf32;
    }
  expect(good, "tensor cores", "wrong value");
  bool one = true;
  for (int lane = 0; lane < 32; lane++) one = one && z[128 + lane] == x[lane / 4 * 8 + lane % 4];
  expect(one, "ldmatrix of one matrix", "wrong value");
}

void checkRounding() {
  const float nan = __builtin_nanf("");
  // 1 + 2^-8 lies halfway between neighbours in bf16, 1 + 2^-11 in tf32.
  expect(gpu::packBf16(1.00390625f, 1.01171875f) == 0x3F823F80u, "bf16", "ties go to even");
  expect((gpu::packBf16(nan, 0) & 0x7FFFu) > 0x7F80u, "bf16", "a NaN stays one");
  expect(gpu::floatFromBits(gpu::toTf32(1.00048828125f)) == 1.0009765625f, "tf32", "ties go away from zero");
}

void checkLanguage(Random&, Effort) {
  for (uint64_t seed = 0; seed < 4; seed++) {
    gpu::host::setSchedule({seed, 2});
    checkMeetings();
    checkAtomics();
    checkTensorCores();
  }
  checkRounding();
}

CUDA_CHECKS("language", checkLanguage);

}  // namespace
}  // namespace cuda
}  // namespace langevin
