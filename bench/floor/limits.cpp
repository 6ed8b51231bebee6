// Measures what this machine can do at most: float32 multiply-adds, and bytes moved by a = b + s c from arrays of several sizes.
//
//   c++ -O3 -march=native -ffp-contract=fast -pthread limits.cpp -o limits && ./limits THREADS
//
// Prints {"gflops": ..., "memory": [{"bytes": ..., "gbps": ...}, ...]}: the best of several tries, since others only ever slow
// it down, all threads together; `bytes` is the size of all arrays, and writes count once, although a processor may read a
// line before it writes there.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr std::size_t vectorBytes = 64;
constexpr int accumulators = 24;
#elif defined(__AVX__)
constexpr std::size_t vectorBytes = 32;
constexpr int accumulators = 12;
#else
constexpr std::size_t vectorBytes = 16;
constexpr int accumulators = 12;
#endif
typedef float Vector __attribute__((vector_size(vectorBytes)));
constexpr int lanes = vectorBytes / sizeof(float);

constexpr int repeats = 9;

/** Seconds that `work(thread)` takes on all threads at once, from when all of them are there. */
template <class Work>
double secondsOf(int threads, Work work) {
  std::atomic<int> waiting{0};
  std::atomic<bool> begin{false};
  std::vector<std::thread> crew;
  for (int i = 0; i < threads; i++)
    crew.emplace_back([&, i] {
      waiting++;
      while (!begin) std::this_thread::yield();
      work(i);
    });
  while (waiting < threads) std::this_thread::yield();
  const auto start = std::chrono::steady_clock::now();
  begin = true;
  for (std::thread& member : crew) member.join();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class Measure>
double bestOf(Measure measure) {
  double best = 0;
  for (int i = 0; i < repeats; i++) best = std::max(best, measure());
  return best;
}

/** Independent multiply-adds, as many as hide their latency; the sum keeps the compiler from leaving them out. */
float multiplyAdds(long rounds) {
  Vector sums[accumulators], factor, term;
  for (int lane = 0; lane < lanes; lane++) factor[lane] = 0.999f, term[lane] = 1e-6f;
  for (int i = 0; i < accumulators; i++) sums[i] = term * static_cast<float>(i);
  for (long round = 0; round < rounds; round++) {
#pragma GCC unroll 24
    for (int i = 0; i < accumulators; i++) sums[i] = sums[i] * factor + term;
  }
  float total = 0;
  for (int i = 0; i < accumulators; i++)
    for (int lane = 0; lane < lanes; lane++) total += sums[i][lane];
  return total;
}

double gigaflops(int threads) {
  constexpr long rounds = 2000000;
  std::vector<float> results(threads);
  return bestOf([&] {
    const double seconds = secondsOf(threads, [&](int i) { results[i] = multiplyAdds(rounds); });
    return 2.0 * rounds * accumulators * lanes * threads / seconds / 1e9;
  });
}

/** a = b + s c again and again, until about 1 GB has been moved by each thread. */
double gigabytesPerSecond(int threads, std::size_t bytes) {
  const std::size_t length = bytes / 3 / sizeof(float) / threads;
  const long passes = std::max<long>(1, (1L << 30) / (12L * static_cast<long>(length)));
  std::vector<std::vector<float>> arrays(3 * threads);
  secondsOf(threads, [&](int i) { for (int k = 0; k < 3; k++) arrays[3 * i + k].assign(length, 1.0f); });
  return bestOf([&] {
    const double seconds = secondsOf(threads, [&](int i) {
      float* __restrict a = arrays[3 * i].data();
      const float* __restrict b = arrays[3 * i + 1].data();
      const float* __restrict c = arrays[3 * i + 2].data();
      for (long pass = 0; pass < passes; pass++) {
        for (std::size_t j = 0; j < length; j++) a[j] = b[j] + 1.5f * c[j];
        asm volatile("" ::: "memory");
      }
    });
    return 12.0 * length * passes * threads / seconds / 1e9;
  });
}

}  // namespace

int main(int count, char** arguments) {
  const int threads = count > 1 ? std::max(1, std::atoi(arguments[1])) : 1;
  std::printf("{\"gflops\": %.1f, \"memory\": [", gigaflops(threads));
  const char* separator = "";
  for (const std::size_t mebibytes : {3, 24, 768}) {
    const std::size_t bytes = mebibytes << 20;
    std::printf("%s{\"bytes\": %zu, \"gbps\": %.1f}", separator, bytes, gigabytesPerSecond(threads, bytes));
    separator = ", ";
  }
  std::printf("]}\n");
}
