// Samplers against mathematics: with a network that knows a mixture of Gaussians exactly, errors fall with the order that
// is stated, and pictures have the mixture's mean and covariance.

import { expect } from "chai";
import type { DPMSolverMultistepOptions, Scheduler, SolverRun, Tensor } from "langevin";
import {
  DDIMInverseScheduler,
  DDIMScheduler,
  DEISMultistepScheduler,
  DPMSolverMultistepScheduler,
  DPMSolverSinglestepScheduler,
  EDMDPMSolverMultistepScheduler,
  EulerDiscreteScheduler,
  FlowMatchEulerDiscreteScheduler,
  HeunDiscreteScheduler,
  LCMScheduler,
  LMSDiscreteScheduler,
  UniPCMultistepScheduler,
  concat,
  randn,
  tensor,
} from "langevin";
import { GaussianMixture } from "../../../examples/gaussian-mixture.ts";
import { exactEnd, gaussianMoments, sampled } from "../../../examples/sampler-errors.ts";
import type { Study } from "../../../examples/sampler-studies.ts";
import { evenly, measure, measuredOrder, mixture, panels, study } from "../../../examples/sampler-studies.ts";

const float64 = { dtype: "float64", device: "ts" } as const;

function numbers(x: Tensor): number[] {
  return x.reshape([x.size]).toArray() as number[];
}

/** Orders differ by 1; those that are measured come this near to whole numbers. */
function expectOrder(given: Study): void {
  const measurements = measure(given);
  expect(measuredOrder(measurements), JSON.stringify(measurements)).to.be.closeTo(given.order, 0.3);
}

describe("what convergence is measured by", () => {
  it("a mixture's epsilon is -noise times the gradient of ln p(x)", () => {
    const [signal, noise, near] = [0.8, 0.6, 1e-5];
    const density = (x: number, y: number): number =>
      mixture.components.reduce((sum, { weight, mean, deviation }) => {
        const variance = (signal * deviation) ** 2 + noise ** 2;
        const distance = Math.hypot(x - signal * mean[0], y - signal * mean[1]);
        return sum + (weight / variance) * Math.exp((-0.5 * distance ** 2) / variance);
      }, 0);
    const [x, y] = [0.3, -0.4];
    const slope = (dx: number, dy: number): number =>
      Math.log(density(x + dx, y + dy) / density(x - dx, y - dy)) / (2 * near);
    const got = numbers(mixture.predict(tensor([[x, y]], float64), { signal, noise }, "epsilon"));
    expect(got[0]).to.be.closeTo(-noise * slope(near, 0), 1e-9);
    expect(got[1]).to.be.closeTo(-noise * slope(0, near), 1e-9);
  });

  it("all predictions of a mixture say the same", () => {
    const level = { signal: 0.8, noise: 0.6 };
    const x = randn([5, 2], { seed: 3, ...float64 });
    const predict = (type: "epsilon" | "sample" | "v_prediction" | "flow_prediction") =>
      mixture.predict(x, level, type);
    const [x0, epsilon] = [predict("sample"), predict("epsilon")];
    const off = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item();
    expect(off(x0.mul(0.8).add(epsilon.mul(0.6)), x)).to.be.below(1e-14);
    expect(off(epsilon.mul(0.8).sub(x0.mul(0.6)), predict("v_prediction"))).to.be.below(1e-14);
    expect(off(epsilon.sub(x0), predict("flow_prediction"))).to.be.below(1e-14);
  });

  it("the exact solution is that of a Gaussian, where it is known, and does not depend on its steps", () => {
    const gaussian = new GaussianMixture([{ weight: 1, mean: [0.7], deviation: 0.4 }]);
    const solver = new EulerDiscreteScheduler().solver(evenly(4));
    const x = randn([64, 1, 1, 1], { seed: 1, ...float64 }).mul(80);
    const got = numbers(exactEnd(solver, gaussian, x));
    const deviation = (sigma: number): number => Math.hypot(0.4, sigma);
    numbers(x).forEach((start, k) => {
      const end = 0.7 + ((start - 0.7) * deviation(0.02)) / deviation(80);
      expect(got[k]).to.be.closeTo(end, 1e-10);
    });
    const z = randn([64, 1, 1, 2], { seed: 1, ...float64 }).mul(80);
    const [coarse, fine] = [600, 1200].map((steps) => exactEnd(solver, mixture, z, steps));
    expect(coarse.sub(fine).abs().max().item()).to.be.below(1e-9);
  });
});

describe("order of convergence", () => {
  for (const [title, studies] of Object.entries(panels))
    describe(title.toLowerCase(), () => {
      for (const given of studies) it(`${given.name}: ${given.order}`, () => expectOrder(given));
    });

  describe("other options", () => {
    const few = { steps: [64, 128] };
    const weakly = { of: "moments", steps: [128, 256] } as const;
    const plain = { lowerOrderFinal: false, finalSigmasType: "sigma_min" } as const;
    const multistep = (options: DPMSolverMultistepOptions) => new DPMSolverMultistepScheduler({ ...plain, ...options });
    const threes = (steps: number) => evenly(1.5 * steps);
    const noCorrector = { disableCorrector: Array.from({ length: 128 }, (_, i) => i) };
    const [uniPC, uniP] = [{}, noCorrector].map(
      (corrector) => (options: ConstructorParameters<typeof UniPCMultistepScheduler>[0]) =>
        new UniPCMultistepScheduler({ lowerOrderFinal: false, ...corrector, ...options }),
    );
    // prettier-ignore
    const samplers: readonly Study[] = [
      ...[1, 2, 3].map((order) => study(`LMS ${order}`, order, new LMSDiscreteScheduler(), (n) => ({ ...evenly(n), order }), few)),
      ...(["dpmsolver", "dpmsolver++"] as const).flatMap((algorithmType) => [
        study(`${algorithmType} 1`, 1, multistep({ algorithmType, solverOrder: 1 }), evenly, few),
        study(`${algorithmType} 2M, heun`, 2, multistep({ algorithmType, solverType: "heun" }), evenly, few),
        // The second derivative has half its factor in diffusers, so that the third order is none.
        study(`${algorithmType} 3M, heun`, 2, multistep({ algorithmType, solverOrder: 3, solverType: "heun" }), evenly, few),
        ...(["midpoint", "heun"] as const).flatMap((solverType) => [
          study(`${algorithmType} 2S, ${solverType}`, 2, new DPMSolverSinglestepScheduler({ ...plain, algorithmType, solverType }), evenly, few),
          study(`${algorithmType} 3S, ${solverType}`, 3, new DPMSolverSinglestepScheduler({ ...plain, algorithmType, solverType, solverOrder: 3 }), threes, few),
        ]),
      ]),
      study("dpmsolver 2M, midpoint", 2, multistep({ algorithmType: "dpmsolver" }), evenly, few),
      study("DEIS 1", 1, new DEISMultistepScheduler({ solverOrder: 1, lowerOrderFinal: false }), evenly, few),
      ...(["bh1", "bh2"] as const).flatMap((solverType) =>
        [true, false].flatMap((predictX0) => [
          study(`UniPC 1, ${solverType}, predictX0 ${predictX0}`, 2, uniPC({ solverType, predictX0, solverOrder: 1 }), evenly, few),
          study(`UniPC 2, ${solverType}, predictX0 ${predictX0}`, 3, uniPC({ solverType, predictX0 }), evenly, few),
          study(`UniP 3, ${solverType}, predictX0 ${predictX0}`, 3, uniP({ solverType, predictX0, solverOrder: 3 }), evenly, few),
        ]),
      ),
      study("UniP 2", 2, uniP({}), evenly, few),
      study("EDM 3M to sigma_min", 2, new EDMDPMSolverMultistepScheduler({ ...plain, solverOrder: 3 }), (steps) => ({ steps }), { steps: [128, 256] }),
      study("DDIM's inversion", 1, new DDIMInverseScheduler({ numTrainTimesteps: 1024, clipSample: false }), (steps) => ({ steps }), few),
      ...(["sde-dpmsolver", "sde-dpmsolver++"] as const).flatMap((algorithmType) =>
        (["midpoint", "heun"] as const).map((solverType) =>
          study(`${algorithmType} 2M, ${solverType}`, 2, multistep({ algorithmType, solverType }), evenly, weakly),
        ),
      ),
      study("sde-dpmsolver++ 1", 1, multistep({ algorithmType: "sde-dpmsolver++", solverOrder: 1 }), evenly, weakly),
      // The second derivative has the wrong sign in diffusers.
      study("sde-dpmsolver++ 3M", 1, multistep({ algorithmType: "sde-dpmsolver++", solverOrder: 3 }), evenly, weakly),
      study("DDIM, eta 1", 1, new DDIMScheduler({ numTrainTimesteps: 1024, clipSample: false, timestepSpacing: "trailing" }), (steps) => ({ steps, eta: 1 }), weakly),
    ];
    for (const given of samplers) it(`${given.name}: ${given.order}`, () => expectOrder(given));

    it("sde-dpmsolver++ 3S, heun: none, as the documentation says", () => {
      const options = { ...plain, algorithmType: "sde-dpmsolver++", solverOrder: 3, solverType: "heun" } as const;
      const measured = measure(study("3S", 0, new DPMSolverSinglestepScheduler(options), threes, weakly));
      expect(measured[1].error).to.be.above(1);
    });
  });

  describe("other predictions give the same path", () => {
    const z = randn([16, 1, 1, 2], { seed: 2, ...float64 });
    const end = (scheduler: Scheduler, run: SolverRun): Tensor => {
      const solver = scheduler.solver(run);
      return sampled({ scheduler, solver }, mixture, z.mul(solver.initialNoise), () => expect.fail("no noise"));
    };
    const classes = {
      DDIMScheduler,
      EulerDiscreteScheduler,
      HeunDiscreteScheduler,
      LMSDiscreteScheduler,
      DEISMultistepScheduler,
      DPMSolverMultistepScheduler,
      DPMSolverSinglestepScheduler,
      UniPCMultistepScheduler,
    };
    for (const [name, Class] of Object.entries(classes))
      it(name, () => {
        const options = name === "DDIMScheduler" ? { clipSample: false } : {};
        const ends = (["epsilon", "sample", "v_prediction"] as const).map((predictionType) =>
          end(new Class({ ...options, predictionType }), { steps: 12 }),
        );
        for (const other of ends.slice(1)) expect(other.sub(ends[0]).abs().max().item()).to.be.below(1e-9);
      });

    it("flow_prediction", () => {
      const options = { useFlowSigmas: true, lowerOrderFinal: false, solverOrder: 1 } as const;
      const flow = end(new DPMSolverMultistepScheduler({ ...options, predictionType: "flow_prediction" }), {
        steps: 12,
      });
      const epsilon = end(new DPMSolverMultistepScheduler({ ...options, predictionType: "epsilon" }), { steps: 12 });
      expect(flow.sub(epsilon).abs().max().item()).to.be.below(1e-9);
    });
  });
});

describe("mean and covariance of the pictures", () => {
  const count = 4096;

  /** The mixture's pictures at a noise level, with as many of each component as its weight says. */
  function noisy({ signal, noise }: { readonly signal: number; readonly noise: number }): Tensor {
    const pictures = mixture.components.map(({ weight, mean, deviation }, k) =>
      randn([Math.round(weight * count), 1, 1, 2], { seed: 11 + k, ...float64 })
        .mul(deviation)
        .add(tensor([...mean], float64)),
    );
    const x0 = concat(pictures, 0);
    return x0.mul(signal).add(randn(x0.shape, { seed: 20, ...float64 }).mul(noise));
  }

  for (const { name, order, sampler } of Object.values(panels).flat())
    it(name, () => {
      // So many that what is left of the error is less than that of drawing at random.
      const { scheduler, solver } = sampler(order === 1 ? 192 : 48);
      const end = solver.levels[solver.calls];
      const x = sampled({ scheduler, solver }, mixture, noisy(solver.levels[0]), (call) =>
        randn([count, 1, 1, 2], { seed: 100 + call, ...float64 }),
      ).reshape([count, 2]);
      const mean = x.mean(0);
      const centred = x.sub(mean);
      const covariance = numbers(centred.transpose().matmul(centred).div(count));
      const exact = mixture.covariance.flatMap((row, i) =>
        row.map((value, j) => end.signal ** 2 * value + (i === j ? end.noise ** 2 : 0)),
      );
      const variances = [exact[0], exact[3]];
      const errors = 4 / Math.sqrt(count);
      numbers(mean).forEach((value, i) =>
        expect(value, `mean ${i}`).to.be.closeTo(end.signal * mixture.mean[i], errors * Math.sqrt(variances[i])),
      );
      covariance.forEach((value, k) => {
        const [i, j] = [Math.floor(k / 2), k % 2];
        const deviation = Math.sqrt(variances[i] * variances[j] + exact[k] ** 2);
        expect(value, `covariance ${i} ${j}`).to.be.closeTo(exact[k], errors * deviation);
      });
    });

  it("LCM, given the exact consistency function of Gaussian data, draws these data in any number of steps", () => {
    const gaussian = new GaussianMixture([{ weight: 1, mean: [0.7], deviation: 0.4 }]);
    const scheduler = new LCMScheduler({ predictionType: "sample" });
    // x0 at the end of the ODE: as many deviations from the mean as x is at its level.
    const consistency = new (class extends GaussianMixture {
      override predict(x: Tensor, { signal, noise }: { readonly signal: number; readonly noise: number }): Tensor {
        return x
          .sub(0.7 * signal)
          .mul(0.4 / Math.hypot(0.4 * signal, noise))
          .add(0.7);
      }
    })(gaussian.components);
    for (const steps of [1, 2, 4, 8]) {
      const { mean, deviation } = gaussianMoments({ scheduler, solver: scheduler.solver({ steps }) }, consistency);
      expect(mean, `${steps}`).to.be.closeTo(0.7, 2e-3);
      expect(deviation, `${steps}`).to.be.closeTo(0.4, 2e-3);
    }
  });

  it("flow matching with a stochastic step forgets x, as its network is distilled to allow", () => {
    const scheduler = new FlowMatchEulerDiscreteScheduler({ stochasticSampling: true });
    const gaussian = new GaussianMixture([{ weight: 1, mean: [0.7], deviation: 0.4 }]);
    const { mean, deviation } = gaussianMoments({ scheduler, solver: scheduler.solver({ steps: 64 }) }, gaussian);
    expect(mean).to.be.closeTo(0.7, 1e-3);
    expect(deviation).to.be.below(0.35);
  });
});
