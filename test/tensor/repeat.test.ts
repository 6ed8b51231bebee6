// Loops in plans: bodies are recorded once, state and history are handed on, beginnings that differ stand by themselves;
// everything has the bits of the same loop run eagerly.

import { expect } from "chai";
import {
  Adam,
  ArgumentError,
  CaptureError,
  Conv2d,
  Dropout,
  GradientError,
  Linear,
  Module,
  NoiseSchedule,
  Parameter,
  SGD,
  ShapeError,
  capture,
  draws,
  iterate,
  manualSeed,
  mse,
  noGrad,
  ones,
  randn,
  repeat,
  sample,
  scope,
  tensor,
  zeros,
} from "langevin";
import type { Tensor } from "langevin";
import { failure } from "../failure.ts";
import { bits } from "../plan/bits.ts";
import { TutorialUNet } from "../../examples/tutorial-nets.ts";
import { liveMemory, onEveryDevice, referencedMemory, sampleByGraphs } from "./devices.ts";

/** x_t -> x_0 (about) for a tiny network. */
class Denoiser extends Module {
  readonly conv1 = new Conv2d(1, 4, 3, { padding: 1 });
  readonly conv2 = new Conv2d(4, 1, 3, { padding: 1 });
  forward(x: Tensor, t: Tensor): Tensor {
    return this.conv2.forward(
      this.conv1
        .forward(x)
        .add(t.reshape([1, 1, 1, 1]))
        .silu(),
    );
  }
}

/** Runs `fn` eagerly and then as a plan with poisoned memory, each from the same seed, and compares all results. */
function expectSame(fn: () => Tensor[], plan: RegExp): void {
  manualSeed(7);
  const expected = scope(() => fn().map(bits));
  manualSeed(7);
  const captured = capture(fn, { poison: true });
  for (let call = 0; call < 2; call++) {
    manualSeed(7);
    expect(scope(() => captured().map(bits))).to.deep.equal(expected);
  }
  expect(captured.plan().toString()).to.match(plan);
  captured.dispose();
}

onEveryDevice("loops", () => {
  sampleByGraphs();

  it("run a body for each index, and hand a state on", () => {
    const seen: number[] = [];
    repeat(3, (index) => {
      seen.push(Number(index));
    });
    expect(seen).to.deep.equal([0, 1, 2]);
    const table = tensor([1, 10, 100, 1000]);
    const sum = (): Tensor => iterate(4, zeros([]), (total, k) => total.mul(2).add(table.row(k)));
    expect(sum().item()).to.equal(8 + 40 + 200 + 1000);
    expectSame(() => [sum()], /repeat 4/);
  });

  it("run no time, once, and twice", () => {
    for (const times of [0, 1, 2])
      expectSame(() => [iterate(times, ones([3]), (x, k) => x.mul(3).add(tensor([1, 2]).row(k)))], /Memory/);
  });

  it("nest", () => {
    const table = randn([3, 2, 5]);
    expectSame(
      () => [
        iterate(3, zeros([5]), (x, i) => {
          const rows = table.row(i);
          return iterate(2, x.mul(0.5), (y, j) => y.add(rows.row(j)).add(randn([5])));
        }),
      ],
      /repeat 3[^]*repeat 2/,
    );
  });

  it("hand on states that trade places, stay, and are given twice", () => {
    expectSame(() => {
      const start = { a: tensor([1, 2]), b: tensor([10, 20]), still: tensor([7]) };
      const end = iterate(5, start, ({ a, b, still }) => ({ still, b: a.add(b), a: b }));
      return [end.a, end.b, end.still, start.a];
    }, /repeat 5/);
  });

  it("hand on states by name, and one tensor as several parts of them", () => {
    expectSame(() => {
      const { x, last } = iterate(3, { x: ones([1]), last: tensor([10]) }, ({ x, last }) => ({
        last: x,
        x: x.add(last),
      }));
      const [a, b] = iterate(3, [x, x], ([c, d]) => [c.add(1), d.mul(2)]);
      const [e, f] = iterate(4, [a, b], ([c]) => [c, c]);
      return [x, last, a, b, e, f];
    }, /repeat 3/);
    expect(
      failure(() => iterate(1, { x: ones([1]) }, (({ x }: { x: Tensor }) => ({ y: x })) as never)).message,
    ).to.match(/^iterate: the body was given x: float32 \[1\] and returned y: float32 \[1\]/);
  });

  it("leave behind what their last iteration made", () => {
    expectSame(() => {
      const w = tensor([1, 2]).requireGrad();
      let last: Tensor | undefined;
      const x = iterate(5, ones([2]), (y) => {
        w.clearGrad();
        w.mul(w).mul(y).sum().backward();
        last = y.mul(3).keep();
        return y.add(1);
      });
      const result = [x, last!.clone(), w.grad!.clone(), randn([2])];
      last!.dispose();
      return result;
    }, /repeat/);
  });

  it("count steps of an optimizer by parameters that take them together", async () => {
    const build = () => {
      const [a, b] = [new Parameter(tensor([1])), new Parameter(tensor([1]))];
      const adam = new Adam([a, b], { lr: 0.1 });
      b.mul(3).sum().backward();
      adam.step();
      const step = (): void => {
        a.square().sum().backward();
        adam.step();
        repeat(3, () => {
          a.square().add(b.square()).sum().backward();
          adam.step();
        });
      };
      return { step, state: () => [bits(a), bits(b), JSON.stringify(adam.stateDict().numbers)] };
    };
    const [eager, called, replayed] = [build(), build(), build()];
    for (let i = 0; i < 5; i++) scope(eager.step);
    const call = capture(called.step);
    for (let i = 0; i < 5; i++) call();
    for await (const _ of capture(replayed.step).replay(5));
    expect(called.state()).to.deep.equal(eager.state());
    expect(replayed.state()).to.deep.equal(eager.state());
  });

  it("draw what eager loops draw, with dropout and noise by index", () => {
    const drop = new Dropout(0.5);
    drop.step = 0;
    const run = (): Tensor[] => [
      iterate(6, ones([4, 3]), (x, k) =>
        drop
          .forward(x)
          .add(randn([4, 3], { seed: 3, step: k }))
          .add(randn([4, 3])),
      ),
    ];
    const eager = scope(() => run().map(bits));
    expect(drop.step).to.equal(6);
    drop.step = 0;
    manualSeed(0);
    const [captured] = [capture(run, { poison: true })];
    manualSeed(0);
    scope(() => captured());
    expect(drop.step).to.equal(6);
    drop.step = 0;
    manualSeed(0);
    const planned = scope(() => captured().map(bits));
    drop.step = 0;
    manualSeed(0);
    expect(scope(() => run().map(bits))).to.deep.equal(planned);
    expect(eager).to.have.length(1);
  });

  it("accumulate gradients: the first batch writes what the others add to", () => {
    const build = () => {
      manualSeed(2);
      const layer = new Linear(3, 2);
      const sgd = new SGD(layer.parameters(), { lr: 0.1, momentum: 0.9 });
      const step = (): void => {
        repeat(4, () => {
          layer
            .forward(randn([5, 3]))
            .square()
            .mean()
            .div(4)
            .backward();
        });
        sgd.step();
      };
      return { layer, step };
    };
    const eager = build();
    for (let i = 0; i < 6; i++) scope(eager.step);
    const planned = build();
    const step = capture(planned.step, { poison: true });
    for (let i = 0; i < 6; i++) step();
    expect(bits(planned.layer.weight)).to.equal(bits(eager.layer.weight));
    expect(step.plan().toString()).to.match(/repeat 1[^]*assign|repeat 1[^]*matmul[^]*repeat 3[^]*accumulate/);
    step.dispose();
  });

  it("train many steps in one call, with an average of the weights whose decay changes", async () => {
    const decays = tensor([0, 0.5, 0.9, 0.99, 0.999]);
    const build = () => {
      manualSeed(4);
      const layer = new Linear(3, 2);
      const adam = new Adam(layer.parameters(), { lr: 0.01 });
      const average = new Parameter(layer.weight.detach().clone());
      const run = (): Tensor => {
        const losses = iterate(5, zeros([]), (_, k) => {
          const loss = mse(layer.forward(randn([4, 3])), randn([4, 2]));
          loss.backward();
          adam.step();
          const decay = decays.row(k);
          noGrad(() => {
            average.assign(average.mul(decay).add(layer.weight.mul(decay.neg().add(1))));
          });
          return loss.detach();
        });
        return losses;
      };
      return { run, state: () => [layer.weight, layer.bias!, average].map(bits) };
    };
    const eager = build();
    const losses = [0, 1].map(() => scope(() => bits(eager.run())));
    const planned = build();
    const run = capture(planned.run, { poison: true });
    expect([0, 1].map(() => scope(() => bits(run())))).to.deep.equal(losses);
    expect(planned.state()).to.deep.equal(eager.state());
    run.dispose();
  });

  it("sample: the whole reverse process of DDPM is one program, with the bits of sample", async () => {
    const steps = 12;
    const schedule = new NoiseSchedule({ steps, betaStart: 0.05, betaEnd: 0.5 });
    manualSeed(1);
    const model = new TutorialUNet({ imageChannels: 1, channels: [4, 8, 8], timeDim: 4, steps });
    const timesteps = tensor(
      Int32Array.from({ length: steps * 3 }, (_, i) => steps - 1 - Math.floor(i / 3)),
      {
        shape: [steps, 3],
      },
    );
    const chain = (): Tensor =>
      noGrad(() =>
        iterate(steps, randn([3, 8, 8, 1], { seed: 5, draw: draws.initialNoise }), (x, k) => {
          const t = timesteps.row(k);
          return schedule.reverseStep(x, t, model.forward(x, t), { seed: 5, step: k });
        }),
      );
    const expected = bits(await sample({ model, schedule, count: 3, size: [8, 8, 1], seed: 5, eager: true }));
    expect(bits(await sample({ model, schedule, count: 3, size: [8, 8, 1], seed: 5 }))).to.equal(expected);
    expect(scope(() => bits(chain()))).to.equal(expected);
    expectSame(() => [chain()], /repeat 12[^]*concat|repeat 12/);
  });

  it("sample with history: DPM-Solver++ 2M", () => {
    // Lu et al. 2022, algorithm 2: a first-order step, then steps that remember the last prediction of x_0.
    const model = new Denoiser();
    const n = 6;
    const sigma = Float64Array.from({ length: n + 1 }, (_, i) => 3 * (1 - i / (n + 0.5)));
    const lambda = sigma.map((s) => -Math.log(s));
    const h = Float64Array.from({ length: n }, (_, i) => lambda[i + 1] - lambda[i]);
    const table = (value: (i: number) => number): Tensor =>
      tensor(Float64Array.from({ length: n }, (_, i) => value(i)));
    const time = table((i) => sigma[i]);
    const keep = table((i) => sigma[i + 1] / sigma[i]);
    const move = table((i) => -Math.expm1(-h[i]));
    const old = table((i) => (i === 0 ? 0 : h[i] / h[i - 1] / 2));
    const run = (): Tensor[] =>
      noGrad(() => {
        const start = randn([2, 4, 4, 1]).mul(3);
        const first = model.forward(start, time.row(0));
        const begun = { x: start.mul(keep.row(0)).add(first.mul(move.row(0))), last: first };
        const { x } = iterate(n - 1, begun, ({ x, last }, k) => {
          const [i] = [(table_: Tensor) => table_.slice([1, n]).row(k)];
          const d = model.forward(x, i(time));
          const extrapolated = d.add(d.sub(last).mul(i(old)));
          return { x: x.mul(i(keep)).add(extrapolated.mul(i(move))), last: d };
        });
        return [x];
      });
    expectSame(run, /repeat 5/);
  });

  it("sample with two stages: Heun", () => {
    const model = new Denoiser();
    const n = 5;
    const sigmas = tensor(Array.from({ length: n + 1 }, (_, i) => 2 - (1.9 * i) / n));
    const [from, to] = [sigmas.slice([0, n]), sigmas.slice([1, n + 1])];
    const run = (): Tensor[] =>
      noGrad(() => [
        iterate(n, randn([2, 4, 4, 1]), (x, k) => {
          const [a, b] = [from.row(k), to.row(k)];
          const slope = x.sub(model.forward(x, a)).div(a);
          const guess = x.add(slope.mul(b.sub(a)));
          const second = guess.sub(model.forward(guess, b)).div(b);
          return x.add(slope.add(second).mul(b.sub(a)).div(2));
        }),
      ]);
    expectSame(run, /repeat 5/);
  });

  it("leave nothing behind", async () => {
    const x = ones([3]);
    const before = await referencedMemory();
    scope(() => void iterate(5, x, (y) => y.add(1)));
    const f = capture(() => iterate(5, x, (y) => y.add(1)));
    scope(() => void f());
    f.dispose();
    expect(await liveMemory()).to.deep.equal(before);
    expect(x.toArray()).to.deep.equal([1, 1, 1]);
  });

  describe("refuse", () => {
    it("states that change their shape, or are no tensors, and numbers of times that are none", () => {
      const grow = (): Tensor => iterate(2, ones([2]), () => ones([3]));
      for (const run of [grow, capture(grow)]) {
        const error = failure(run);
        expect(error).to.be.instanceOf(ShapeError);
        expect(error.message).to.match(/^iterate: the body was given float32 \[2\] and returned float32 \[3\]/);
      }
      expect(failure(() => iterate(2, 3 as never, (x) => x))).to.be.instanceOf(ArgumentError);
      expect(failure(() => iterate(2, ones([1]), (() => 3) as never))).to.be.instanceOf(ArgumentError);
      expect(failure(() => iterate(2, ones([1]), (async () => ones([1])) as never)).message).to.match(/promise/);
      for (const times of [-1, 0.5, NaN]) expect(failure(() => iterate(times, ones([1]), (x) => x))).to.be.instanceOf(ArgumentError); // prettier-ignore
      expect(failure(() => iterate(1, ones([1]).requireGrad(), (x) => x))).to.be.instanceOf(GradientError);
    });

    it("bodies that never become alike, indexes that are calculated with, tensors of earlier iterations", () => {
      let n = 0;
      const changing = capture(() => iterate(20, ones([1]), (x) => x.mul(++n)));
      expect(failure(changing).message).to.match(/^fill: the body of a loop was recorded twice and differs: value is/);
      const calculating = capture(() => iterate(3, ones([1]), (x, k) => x.mul((k as unknown as number) + 1)));
      expect(failure(calculating)).to.be.instanceOf(CaptureError);
      expect(failure(calculating).message).to.match(/calculated with/);
      const kept: Tensor[] = [];
      const remembering = capture(() =>
        iterate(20, ones([1]), (x) => {
          kept.push(x.mul(2).keep());
          return kept.at(-2)?.add(1) ?? x.add(1);
        }),
      );
      expect(failure(remembering)).to.be.instanceOf(CaptureError);
    });
  });
});
