// Loops that a plan keeps as loops: a body is recorded once, however often it runs.

import { ArgumentError, CaptureError, GradientError, ShapeError, showShape } from "../errors/index.ts";
import { ops } from "../ops/index.ts";
import type { Difference, Stretch } from "../plan/compare.ts";
import { bakedIn, difference } from "../plan/compare.ts";
import type { RecordedNode } from "../plan/recorded.ts";
import type { Recording, StepNumber } from "./recording.ts";
import { currentRecording } from "./recording.ts";
import { adopt, expectFunction, refusePromise, scope } from "./scope.ts";
import type { Tensor } from "./tensor.ts";
import { apply, applyInPlace, uninitialised } from "./tensor.ts";
import type { TensorTree } from "./tree.ts";
import { expectTree, listTensors, mapTensors, tensorsIn } from "./tree.ts";

/** Iterations of a body that may differ at its beginning, before those follow that are all alike. */
const mostBeginnings = 8;

/**
 * Runs `body` for index = 0, 1, ..., times - 1. In a captured function the plan holds the body once and repeats it: for
 * gradients that are accumulated over several batches, say. The index is then no number to calculate with, but one that
 * `Tensor.row` takes, and `step` and `image` of seeded noise.
 */
export function repeat(times: number, body: (index: StepNumber) => void): void {
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
export function iterate<S extends TensorTree>(times: number, initial: S, body: (state: S, index: StepNumber) => S): S {
  expectFunction("iterate", body);
  if (!Number.isInteger(times) || times < 0)
    throw new ArgumentError({ op: "iterate", problem: `times is ${times}, expected an integer >= 0.` });
  expectTree("iterate", initial);
  const recording = currentRecording();
  return recording ? record(recording, times, initial, body) : run(times, initial, body);
}

function run<S extends TensorTree>(times: number, initial: S, body: (state: S, index: StepNumber) => S): S {
  // Handles of our own: what the caller gave stays the caller's.
  let state = scope(() => mapTensors(initial, (tensor) => stateOf(tensor).detach())) as S;
  for (let index = 0; index < times; index++) {
    const before = state;
    state = scope(() => detached(before, body(before, index)));
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
  body: (state: S, index: StepNumber) => S,
): S {
  // Where the state lies from iteration to iteration.
  const places = new Map(
    tensorsIn(initial).map((tensor) => {
      const place = uninitialised(stateOf(tensor).shape, tensor.dtype, tensor.executor);
      applyInPlace(ops.assign, [place, tensor], {});
      return [tensor, place] as const;
    }),
  );
  const state = mapTensors(initial, (tensor) => places.get(tensor)!) as S;
  const index = { value: 0 };
  const iteration = (): Stretch => {
    const firstBuffer = recording.buffers.size;
    const { nodes } = recording.body(() => {
      scope(() => {
        const [number] = recording.act(() => [index.value]);
        const after = body(mapTensors(state, handle) as S, number);
        refusePromise("iterate", after);
        expectState(state, after);
        advance(tensorsIn(state), tensorsIn(after));
      });
    });
    return { nodes, buffers: recording.buffers, firstBuffer };
  };
  const add = (count: number, nodes: readonly RecordedNode[], first: number): void => {
    recording.loop(count, nodes, index, first);
  };

  let last: Stretch | undefined;
  let unlike: Difference | undefined;
  for (let i = 0; i < times; i++) {
    index.value = i;
    const next = iteration();
    unlike = last && difference(last, next);
    if (last && !unlike) {
      // Alike, and so are all that follow; this one was recorded to see that.
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
  return mapTensors(state, handle) as S;
}

/** Another handle to a place, which the open scope frees. */
function handle(place: Tensor): Tensor {
  return place.detach();
}

/** The state's places take over what an iteration made; parts that trade places are copied first. */
function advance(places: readonly Tensor[], after: readonly Tensor[]): void {
  const storages = new Set(places.map((place) => place.place("iterate").storage));
  const sources = after.map((tensor, i) => {
    const { storage } = tensor.place("iterate");
    const stays = storage === places[i].place("iterate").storage && tensor.size === places[i].size;
    return stays ? undefined : storages.has(storage) ? apply(ops.copy, [tensor.detach()], {}) : tensor;
  });
  sources.forEach((source, i) => {
    if (source) applyInPlace(ops.assign, [places[i], source], {});
  });
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
  const [given, returned] = [listTensors(before), listTensors(after as TensorTree)];
  const describe = (tensors: readonly Tensor[]): string =>
    tensors.map(({ dtype, shape }) => `${dtype} ${showShape(shape)}`).join(", ") || "nothing";
  if (describe(given) !== describe(returned))
    throw new ShapeError({
      op: "iterate",
      problem: `the body was given ${describe(given)} and returned ${describe(returned)}.`,
      advice: "An iteration returns the state in the shapes and dtypes in which it was given.",
    });
  if (currentRecording() && new Set(returned).size !== given.length)
    throw new CaptureError({
      op: "iterate",
      problem: "a tensor is returned as two parts of the state.",
      advice: "Return a clone() in one of the places.",
    });
}
