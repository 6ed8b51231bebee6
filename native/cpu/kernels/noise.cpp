// randn, rand, randint and dropout: seeded noise, the same at any batch size and on any number of threads.
#include "../../noise/normal_block.h"
#include "iterate.h"

namespace langevin {
namespace LANGEVIN_ISA {
namespace {

// Where a tensor's noise lies: the attributes that every kind of noise has.
struct Stream {
  uint64_t seed;
  noise::Counter counter;

  LANGEVIN_INLINE explicit Stream(Command& command) : seed(command.attributes.seed()), counter{} {
    AttributeReader& attributes = command.attributes;
    counter.draw = static_cast<uint32_t>(attributes.i());
    counter.image = static_cast<uint32_t>(attributes.i() + command.firstImage);
    counter.step = static_cast<uint32_t>(attributes.i());
  }
};

// Calls draw(y, element, n, counter) for runs of n elements of an image, from its element `element` on.
template <class F>
LANGEVIN_INLINE void forEachNoise(Context& context, const Operand& output, const Stream& stream, const F& draw) {
  const Operand* const operands[1] = {&output};
  const Runs runs = runsOf(operands, 1, true);
  forEachPiece(context, runs.count, runs.length, [&](int64_t run, int64_t start, int64_t n) {
    noise::Counter counter = stream.counter;
    counter.image += static_cast<uint32_t>(run / runs.perImage);
    draw(output.as<Word>() + run * runs.pitch[0] + start, run % runs.perImage * runs.length + start, n, counter);
  });
}

void randn(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  command.attributes.ints();  // shape: known from the output
  command.attributes.i();     // dtype: likewise
  const Stream stream(command);
  forEachNoise(context, command.output, stream, [&](Word* y, int64_t element, int64_t n, noise::Counter counter) {
    normals(reinterpret_cast<float*>(y), element, n, counter, stream.seed);
  });
}

void rand(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  command.attributes.ints();
  command.attributes.i();
  const Stream stream(command);
  const float low = static_cast<float>(command.attributes.f()), high = static_cast<float>(command.attributes.f());
  const float range = high - low;
  forEachNoise(context, command.output, stream, [&](Word* y, int64_t element, int64_t n, noise::Counter counter) {
    float* const out = reinterpret_cast<float*>(y);
    uniforms(out, element, n, counter, stream.seed);
    for (int64_t i = 0; i < n; i++) out[i] = low + range * out[i];
  });
}

void randint(Command& command, Context& context) {
  if (!expectDType(command, context, DType::i32)) return;
  command.attributes.ints();
  const Stream stream(command);
  const int64_t low = command.attributes.i(), high = command.attributes.i();
  const uint32_t first = static_cast<uint32_t>(low), range = static_cast<uint32_t>(high - low);
  forEachNoise(context, command.output, stream, [&](Word* y, int64_t element, int64_t n, noise::Counter counter) {
    words(reinterpret_cast<uint32_t*>(y), element, n, counter, stream.seed);
    for (int64_t i = 0; i < n; i++) y[i] = first + noise::below(y[i], range);
  });
}

// The least of the values that `uniforms` gives, multiples of 2^-24, that is not below p: comparing with it in float32
// decides as comparing with p in double does.
LANGEVIN_SIMD float leastKept(double p) { return static_cast<float>(__builtin_ceil(p * 16777216.0) / 16777216.0); }

void dropout(Command& command, Context& context) {
  if (!expectDType(command, context, DType::f32)) return;
  const double p = command.attributes.f();
  const Stream stream(command);
  const V kept = broadcast(leastKept(p)), scale = broadcast(static_cast<float>(1 / (1 - p)));
  const Operand &x = command.inputs[0], &y = command.output;
  const Operand* const operands[2] = {&y, &x};
  const Runs runs = runsOf(operands, 2, true);
  forEachPiece(context, runs.count, runs.length, [&](int64_t run, int64_t start, int64_t n) {
    noise::Counter counter = stream.counter;
    counter.image += static_cast<uint32_t>(run / runs.perImage);
    Word* const out = y.as<Word>() + run * runs.pitch[0] + start;
    const int64_t element = run % runs.perImage * runs.length + start;
    float drawn[kBlock];
    for (int64_t done = 0; done < n; done += kBlock) {
      const int64_t m = least(kBlock, n - done);
      uniforms(drawn, element + done, m, counter, stream.seed);
      const Word* const in[2] = {reinterpret_cast<const Word*>(drawn),
                                 x.as<const Word>() + run * runs.pitch[1] + start + done};
      mapFloatPairs([=](V u, V value) { return select((VI)(u >= kept), value * scale, zero()); }, out + done, in, m);
    }
  });
}

LANGEVIN_KERNEL("randn", "shape:ints,dtype:float32|float64,seed:seed,draw:int,image:int,step:int", randn)
LANGEVIN_KERNEL("rand", "shape:ints,dtype:float32|float64,seed:seed,draw:int,image:int,step:int,low:float,high:float",
                rand)
LANGEVIN_KERNEL("randint", "shape:ints,seed:seed,draw:int,image:int,step:int,low:int,high:int", randint)
LANGEVIN_KERNEL("dropout", "p:float,seed:seed,draw:int,image:int,step:int", dropout)

}  // namespace
}  // namespace LANGEVIN_ISA
}  // namespace langevin
