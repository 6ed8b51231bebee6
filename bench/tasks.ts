// What is measured: the list of tasks, each with its sizes, in a form that peers in other languages are given as JSON.

/** A task's name in results, and what its times are told in: "ms_..." in milliseconds, "s_..." in seconds. */
interface Named {
  /** As in `W4-fwd-b16`; what comes before the first dash is the workload's group. */
  readonly workload: string;
  /** As in `ms_per_train_step`. */
  readonly metric: string;
}

/** Sizes of the U-Net of W4, for square images of 3 channels. */
export interface UNetSizes {
  /** Side of the images in pixels. */
  readonly size: number;
  /** Channels at full resolution. */
  readonly base: number;
  /** Channels of each level over `base`; every level has half the side of the one before. */
  readonly mults: readonly number[];
}

/** Which way through an operation: only the result, only the gradients, or both. */
export type Pass = "fwd" | "bwd" | "fwdbwd";

/** One thing to measure. */
export type Task = Named &
  (
    | { readonly kind: "tutorial-train" | "tutorial-sample"; readonly batch: number }
    | { readonly kind: "reverse-step"; readonly size: number }
    | ({ readonly kind: "unet-train" | "unet-forward"; readonly batch: number } & UNetSizes)
    | {
        readonly kind: "conv" | "group-norm-silu";
        readonly pass: Pass;
        readonly batch: number;
        readonly channels: number;
        readonly size: number;
      }
    | { readonly kind: "matmul"; readonly size: number }
    | {
        readonly kind: "attention";
        readonly pass: Pass;
        readonly batch: number;
        readonly length: number;
        readonly channels: number;
        readonly heads: number;
      }
    | { readonly kind: "adam"; readonly count: number }
  );

/** The task of one kind. */
export type TaskOf<Kind extends Task["kind"]> = Extract<Task, { readonly kind: Kind }>;

/** Names of the groups that `--only` takes. */
export const groups = ["W1", "W2", "W3", "W4", "W5"] as const;

/** What differs from the usual in W4. */
export interface Sizes extends UNetSizes {
  /** Images in a batch; undefined for the usual 16, and 1 for forwards as well. */
  readonly batch?: number;
}

/** W4's sizes: 8,952,067 parameters. */
export const usualUNet: UNetSizes = { size: 32, base: 64, mults: [1, 2, 2, 2] };

/** A training step of W4 with these sizes. */
export function unetTraining(sizes: UNetSizes, batch: number): TaskOf<"unet-train" | "unet-forward"> {
  return { workload: `W4-train-b${batch}`, metric: "ms_per_train_step", kind: "unet-train", batch, ...sizes };
}

/** A forward of W4 with these sizes. */
export function unetForward(sizes: UNetSizes, batch: number): TaskOf<"unet-train" | "unet-forward"> {
  return { workload: `W4-fwd-b${batch}`, metric: "ms_fwd", kind: "unet-forward", batch, ...sizes };
}

/** All tasks of the groups, those of W4 in these sizes. */
export function tasksOf(only: readonly string[], { batch, ...unet }: Sizes): Task[] {
  const sampling = [1, 64].map((size): Task => {
    return { workload: `W2-b${size}`, metric: "s_total_1000_steps", kind: "tutorial-sample", batch: size };
  });
  const all: Task[] = [
    { workload: "W1", metric: "ms_per_train_step", kind: "tutorial-train", batch: 128 },
    ...sampling,
    { workload: "W3", metric: "ms_per_step", kind: "reverse-step", size: 512 },
    unetTraining(unet, batch ?? 16),
    ...(batch === undefined ? [1, 16] : [batch]).map((size) => unetForward(unet, size)),
    ...operations(),
  ];
  return all.filter(({ workload }) => only.includes(workload.split("-")[0]));
}

/** W5: single operations in the shapes that they have in such networks. */
function operations(): Task[] {
  const convolutions = [
    { batch: 128, channels: 16, size: 8 },
    { batch: 16, channels: 64, size: 32 },
    { batch: 16, channels: 128, size: 16 },
  ].flatMap((shape) =>
    (["fwd", "bwd"] as const).map((pass): Task => {
      const workload = `W5-conv-n${shape.batch}c${shape.channels}h${shape.size}`;
      return { workload, metric: `ms_${pass}`, kind: "conv", pass, ...shape };
    }),
  );
  const bothWays = (["fwd", "fwdbwd"] as const).map((pass) => ({ metric: `ms_${pass}`, pass }));
  return [
    ...convolutions,
    { workload: "W5-matmul1024", metric: "ms_fwd", kind: "matmul", size: 1024 },
    ...bothWays.map((way): Task => {
      return { workload: "W5-gnsilu", ...way, kind: "group-norm-silu", batch: 16, channels: 64, size: 32 };
    }),
    ...bothWays.map((way): Task => {
      return { workload: "W5-mha", ...way, kind: "attention", batch: 16, length: 256, channels: 128, heads: 4 };
    }),
    { workload: "W5-adam10m", metric: "ms_per_update", kind: "adam", count: 10_000_000 },
  ];
}
