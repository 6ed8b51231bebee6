// Measures the product kernels on the shapes of the tutorial's U-Net and on larger ones: GFLOP/s at 1 and 2 threads. An
// argument picks the shapes whose names contain it.
#include <algorithm>
#include <chrono>

#include "kernel_harness.h"

using namespace langevin;

namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Job {
  std::string kernel;
  std::vector<Tensor> inputs;
  Words attributes;
  Shape output;
  double flops;  // padding counted as if it were multiplied
};

double bestTime(const Job& job, Machine& machine) {
  std::vector<Operand> operands;
  for (const Tensor& t : job.inputs) operands.push_back(t.operand());
  Tensor y(job.output);
  const auto once = [&] { machine.run(job.kernel, operands, job.attributes, y.operand()); };
  for (int i = 0; i < 5; i++) once();
  double best = 1e9;
  const double end = seconds() + 0.15;
  do {
    const double start = seconds();
    once();
    best = std::min(best, seconds() - start);
  } while (seconds() < end);
  return best;
}

std::string only;  // shapes to measure, by a part of their names

void report(const std::string& name, const std::vector<Job>& jobs, Machine& one, Machine& two) {
  if (name.find(only) == std::string::npos) return;
  std::printf("%-30s", name.c_str());
  for (const Job& job : jobs) {
    const double t1 = bestTime(job, one), t2 = bestTime(job, two);
    std::printf(" | %8.1f us %6.1f  %8.1f us %6.1f", t1 * 1e6, job.flops / t1 / 1e9, t2 * 1e6, job.flops / t2 / 1e9);
  }
  std::printf("\n");
  std::fflush(stdout);
}

void convolution(int64_t n, int64_t size, int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad, Random& random,
                 Machine& one, Machine& two) {
  const int64_t narrow = (size + 2 * pad - kernel) / stride + 1;
  const Tensor x = Tensor::random({n, size, size, in}, random), y = Tensor::random({n, narrow, narrow, out}, random);
  const Tensor w = Tensor::random({kernel, kernel, in, out}, random);
  const Words window = join({ints({stride, stride}), ints({pad, pad, pad, pad}), ints({1, 1})});
  const double flops = 2.0 * n * narrow * narrow * kernel * kernel * in * out;
  char name[80];
  std::snprintf(name, sizeof name, "%ldx%ldx%ld %ld->%ld k%ld s%ld", long(n), long(size), long(size), long(in), long(out),
                long(kernel), long(stride));
  report(name,
         {{"conv2d", {x, w}, window, y.shape(), flops},
          {"convTranspose2d", {y, w}, join({window, ints({size, size})}), x.shape(), flops},
          {"conv2dWeightGradient", {x, y}, join({window, ints({kernel, kernel})}), w.shape(), flops}},
         one, two);
}

void product(int64_t m, int64_t k, int64_t n, Random& random, Machine& one, Machine& two) {
  const Tensor x = Tensor::random({m, k}, random), w = Tensor::random({k, n}, random), y = Tensor::random({m, n}, random);
  const double flops = 2.0 * m * k * n;
  char name[80];
  std::snprintf(name, sizeof name, "matmul %ldx%ldx%ld", long(m), long(k), long(n));
  report(name,
         {{"matmul", {x, w}, {0, 0}, {m, n}, flops},
          {"matmul", {y, w}, {0, 1}, {m, k}, flops},
          {"matmul", {x, y}, {1, 0}, {k, n}, flops}},
         one, two);
}

// Products of matrices of their own: scores and values of attention, written out.
void batch(int64_t count, int64_t m, int64_t k, int64_t n, Random& random, Machine& one, Machine& two) {
  const Tensor x = Tensor::random({count, m, k}, random), w = Tensor::random({count, k, n}, random);
  const Tensor y = Tensor::random({count, m, n}, random);
  const double flops = 2.0 * count * m * k * n;
  char name[80];
  std::snprintf(name, sizeof name, "batch %ldx%ldx%ldx%ld", long(count), long(m), long(k), long(n));
  report(name,
         {{"matmul", {x, w}, {0, 0}, y.shape(), flops},
          {"matmul", {y, w}, {0, 1}, x.shape(), flops},
          {"matmul", {x, y}, {1, 0}, w.shape(), flops}},
         one, two);
}

// Attention and its gradient; the products counted once forward, and five times half of that back.
void attention(int64_t batch, int64_t length, int64_t heads, int64_t depth, Random& random, Machine& one, Machine& two) {
  const Shape shape = {batch, length, heads * depth};
  const Tensor q = Tensor::random(shape, random), k = Tensor::random(shape, random), v = Tensor::random(shape, random);
  const Tensor dy = Tensor::random(shape, random);
  const double flops = 4.0 * batch * heads * length * length * depth;
  const Words attributes = {double(heads), 1 / std::sqrt(double(depth)), 0};
  char name[80];
  std::snprintf(name, sizeof name, "attention %ldx%ld, %ld x %ld", long(batch), long(length), long(heads), long(depth));
  report(name,
         {{"attention", {q, k, v}, attributes, shape, flops},
          {"attentionGradient", {q, k, v, dy}, attributes, {3 * q.size()}, 2.5 * flops}},
         one, two);
}

}  // namespace

int main(int argc, char** argv) {
  Machine one(1), two(2);
  Random random(1);
  if (argc > 1) only = argv[1];
  std::printf("%s; GFLOP/s at 1 and 2 threads\n%-30s | %-36s | %-36s | %-36s\n", Registry::get().isa().c_str(), "",
              "fprop", "dgrad", "wgrad");
  const auto conv = [&](int64_t n, int64_t size, int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad) {
    convolution(n, size, in, out, kernel, stride, pad, random, one, two);
  };
  conv(128, 8, 1, 16, 3, 1, 1);
  conv(128, 8, 16, 16, 3, 1, 1);
  conv(128, 8, 32, 16, 3, 1, 1);
  conv(128, 4, 16, 32, 3, 1, 1);
  conv(128, 4, 32, 32, 3, 1, 1);
  conv(128, 4, 64, 32, 3, 1, 1);
  conv(128, 2, 32, 64, 3, 1, 1);
  conv(128, 2, 64, 64, 3, 1, 1);
  conv(128, 4, 32, 64, 2, 2, 0);
  conv(128, 8, 16, 32, 2, 2, 0);
  conv(128, 8, 16, 1, 1, 1, 0);
  product(128, 16, 16, random, one, two);
  product(128, 16, 32, random, one, two);
  product(128, 16, 64, random, one, two);
  conv(16, 32, 64, 64, 3, 1, 1);
  conv(16, 16, 128, 128, 3, 1, 1);
  conv(1, 512, 3, 16, 3, 1, 1);
  conv(1, 512, 16, 3, 3, 1, 1);
  product(1024, 1024, 1024, random, one, two);
  product(4096, 256, 256, random, one, two);
  product(256, 4096, 512, random, one, two);
  conv(1, 8, 16, 16, 3, 1, 1);
  conv(1, 4, 32, 32, 3, 1, 1);
  conv(1, 2, 64, 64, 3, 1, 1);
  conv(1, 16, 128, 128, 3, 1, 1);
  conv(1, 32, 64, 64, 3, 1, 1);
  product(1, 256, 1024, random, one, two);
  product(1, 256, 1000, random, one, two);
  product(1000, 256, 1, random, one, two);
  batch(16, 256, 64, 256, random, one, two);
  batch(16, 256, 256, 64, random, one, two);
  batch(1000, 8, 8, 8, random, one, two);
  batch(2, 512, 512, 512, random, one, two);
  attention(4, 256, 4, 64, random, one, two);
  attention(1, 1024, 8, 64, random, one, two);
  attention(16, 64, 1, 256, random, one, two);
  attention(1, 4096, 1, 64, random, one, two);
}
