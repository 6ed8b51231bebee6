// Loops that a plan keeps as loops: a body is recorded once, however often it runs.

import { ArgumentError, GradientError, ShapeError, showShape } from "../errors/index.ts";
import { PerStep, ops } from "../ops/index.ts";
import type { Stretch } from "../plan/compare.ts";
import { bakedIn, difference } from "../plan/compare.ts";
import type { RecordedNode } from "../plan/recorded.ts";
import type { Recording } from "./recording.ts";
import { currentRecording } from "./recording.ts";
import { adopt, expectFunction, refusePromise, scope } from "./scope.ts";
import type { Tensor } from "./tensor.ts";
import { apply, applyInPlace, uninitialised } from "./tensor.ts";
import type { TensorTree } from "./tree.ts";
import { expectTree, mapTensors, tensorsByPath, tensorsIn } from "./tree.ts";

/** Iterations of a body that may differ at its beginning, before those follow that are all alike. */
const mostBeginnings = 8;

/**
 * Runs `body` for index = 0, 1, ..., times - 1. In a captured function the plan holds the body once and repeats it: for
 * gradients that are accumulated over several batches, say. The index is one that `Tensor.row` takes, and
 * `step` and `image` of seeded noise; in a plan it cannot be calculated with. What else the body refers to, counters of the
 * program for example, is fixed in the plan.
 */
export function repeat(times: number, body: (index: PerStep) => void): void {
  iterate(times, [], (_, index) => {
    refusePromise("repeat", body(index));
    return [];
  });
}

/**
 * state = body(state, index) for index = 0, 1, ..., times - 1, and returns the last state (`jax.lax.fori_loop`). The
 * state is a tensor, or arrays and plain objects of tensors, whose shapes and dtypes stay: the picture that a sampler
 * works on, and what it remembers of earlier steps. Gradients do not flow from one iteration into the one before. In a
 * captured function the plan holds the body once, or, where the first iterations do something else than those after
 * them, these one by one.
 */
export function iterate<S extends TensorTree>(times: number, initial: S, body: (state: S, index: PerStep) => S): S {
  expectFunction("iterate", body);
  if (!Number.isInteger(times) || times < 0)
    throw new ArgumentError({ op: "iterate", problem: `times is ${times}, expected an integer >= 0.` });
  expectTree("iterate", initial);
  const recording = currentRecording();
  return recording ? record(recording, times, initial, body) : run(times, initial, body);
}

function run<S extends TensorTree>(times: number, initial: S, body: (state: S, index: PerStep) => S): S {
  // Handles of our own: what the caller gave stays the caller's.
  let state = scope(() => mapTensors(initial, (tensor) => stateOf(tensor).detach())) as S;
  for (let index = 0; index < times; index++) {
    const before = state;
    state = scope(() => detached(before, body(before, PerStep.known(index))));
    for (const tensor of tensorsIn(before)) tensor.dispose();
  }
  return state;
}

/** What a body returned, cut off from what it was computed from, if it can follow `before` as the state. */
function detached<S extends TensorTree>(before: S, after: S): S {
  expectState(before, after);
  return mapTensors(after, (tensor) => stateOf(tensor).detach()) as S;
}

function record<S extends TensorTree>(
  recording: Recording,
  times: number,
  initial: S,
  body: (state: S, index: PerStep) => S,
): S {
  // Where the parts of the state lie from iteration to iteration.
  const places = new Map(
    [...tensorsByPath(initial)].map(([path, tensor]) => {
      const place = uninitialised(stateOf(tensor).shape, tensor.dtype, tensor.executor);
      applyInPlace(ops.assign, [place, tensor], {});
      return [path, place] as const;
    }),
  );
  /** Other handles to the places, which the open scope frees. */
  const state = (): S => mapTensors(initial, (_, path) => places.get(path)!.detach()) as S;
  const index = { value: 0 };
  const iteration = (): Stretch => {
    const firstBuffer = recording.buffers.size;
    const { nodes } = recording.body(() => {
      scope(() => {
        const [number] = recording.act(() => [index.value]);
        const before = state();
        const after = body(before, number);
        expectState(before, after);
        advance(places, tensorsByPath(after));
      });
    });
    return { nodes, buffers: recording.buffers, firstBuffer };
  };
  const add = (count: number, nodes: readonly RecordedNode[], first: number): void => {
    recording.loop(count, nodes, index, first);
  };

  let last: Stretch | undefined;
  for (let i = 0; i < times; i++) {
    index.value = i;
    const next = iteration();
    const unlike = last && difference(last, next);
    if (last && !unlike) {
      // Alike, and so are all that follow; this one was recorded to see that, and what it made is what the last one makes.
      recording.identify(next, last);
      add(times - i + 1, last.nodes, i - 1);
      last = undefined;
      break;
    }
    if (last) add(1, last.nodes, i - 1);
    if (i === mostBeginnings) throw bakedIn("the body of a loop", unlike!);
    last = next;
  }
  if (last) add(1, last.nodes, times - 1);
  for (const place of places.values()) adopt(place);
  return state();
}

/** The state's places take over what an iteration made; parts that trade places are copied first. */
function advance(places: ReadonlyMap<string, Tensor>, after: ReadonlyMap<string, Tensor>): void {
  const storages = new Set([...places.values()].map((place) => place.place("iterate").storage));
  const sources = [...places].map(([path, place]) => {
    const tensor = after.get(path)!;
    const { storage } = tensor.place("iterate");
    const stays = storage === place.place("iterate").storage && tensor.size === place.size;
    const moves = storages.has(storage);
    return { place, source: stays ? undefined : moves ? apply(ops.copy, [tensor.detach()], {}) : tensor };
  });
  for (const { place, source } of sources) if (source) applyInPlace(ops.assign, [place, source], {});
}

/** Refuses as state what iterations cannot hand on. */
function stateOf(tensor: Tensor): Tensor {
  tensor.operand("iterate");
  if (tensor.isLeaf)
    throw new GradientError({
      op: "iterate",
      problem: `a state of shape ${showShape(tensor.shape)} requires a gradient, and none flows back through iterations.`,
      advice: "Pass it detached.",
    });
  return tensor;
}

function expectState(before: TensorTree, after: unknown): void {
  refusePromise("iterate", after);
  expectTree("iterate", after);
  const describe = (tree: TensorTree): string =>
    [...tensorsByPath(tree)].map(([path, x]) => `${path ? `${path}: ` : ""}${x.dtype} ${showShape(x.shape)}`).join(", ") || "nothing"; // prettier-ignore
  const [given, returned] = [describe(before), describe(after as TensorTree)];
  if (given !== returned)
    throw new ShapeError({
      op: "iterate",
      problem: `the body was given ${given} and returned ${returned}.`,
      advice: "An iteration returns the state under the names, and in the shapes and dtypes, in which it was given.",
    });
}
