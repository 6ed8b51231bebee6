// All schedulers by diffusers' class, and the one that a config file describes.

import { ArgumentError, showValue } from "../../errors/index.ts";
import { LCMScheduler, TCDScheduler } from "./consistency.ts";
import { DDIMInverseScheduler } from "./ddim-inverse.ts";
import { DDIMScheduler } from "./ddim.ts";
import { DDPMScheduler } from "./ddpm.ts";
import { DEISMultistepScheduler } from "./deis.ts";
import { DPMSolverMultistepScheduler } from "./dpm-solver-multistep.ts";
import { DPMSolverSinglestepScheduler } from "./dpm-solver-singlestep.ts";
import { EDMDPMSolverMultistepScheduler, EDMEulerScheduler } from "./edm.ts";
import { EulerAncestralDiscreteScheduler, EulerDiscreteScheduler } from "./euler.ts";
import { FlowMatchEulerDiscreteScheduler } from "./flow-match-euler.ts";
import { FlowMatchHeunDiscreteScheduler } from "./flow-match-heun.ts";
import { HeunDiscreteScheduler } from "./heun.ts";
import { KDPM2AncestralDiscreteScheduler, KDPM2DiscreteScheduler } from "./kdpm2.ts";
import { LMSDiscreteScheduler } from "./lms.ts";
import { PNDMScheduler } from "./pndm.ts";
import type { SchedulerClass, SchedulerConfig } from "./scheduler.ts";
import { Scheduler } from "./scheduler.ts";
import { UniPCMultistepScheduler } from "./unipc.ts";

const classes = {
  DDPMScheduler,
  DDIMScheduler,
  DDIMInverseScheduler,
  PNDMScheduler,
  EulerDiscreteScheduler,
  EulerAncestralDiscreteScheduler,
  HeunDiscreteScheduler,
  LMSDiscreteScheduler,
  KDPM2DiscreteScheduler,
  KDPM2AncestralDiscreteScheduler,
  DPMSolverMultistepScheduler,
  DPMSolverSinglestepScheduler,
  DEISMultistepScheduler,
  UniPCMultistepScheduler,
  LCMScheduler,
  TCDScheduler,
  EDMEulerScheduler,
  EDMDPMSolverMultistepScheduler,
  FlowMatchEulerDiscreteScheduler,
  FlowMatchHeunDiscreteScheduler,
} as const;

/** A class of diffusers that there is here. */
export type SchedulerName = keyof typeof classes;

/** The classes of diffusers that there are here, by name. */
export const schedulers: Readonly<Record<SchedulerName, SchedulerClass<Scheduler>>> = classes;

/**
 * The scheduler that the contents of diffusers' scheduler_config.json describe; or, given the name of another class, one of
 * that with the same options, as far as it has them (`DDIMScheduler.from_config(scheduler.config)`).
 */
export function schedulerFromConfig(config: SchedulerConfig, other?: string): Scheduler {
  if (typeof config !== "object" || config === null)
    throw new ArgumentError({
      op: "schedulerFromConfig",
      problem: `the config is ${showValue(config)}.`,
      advice: "Expected the contents of a scheduler_config.json, parsed.",
    });
  const name: unknown = other ?? config._class_name;
  if (typeof name !== "string" || !Object.hasOwn(schedulers, name))
    throw new ArgumentError({
      op: "schedulerFromConfig",
      problem: `${other === undefined ? "_class_name" : "the class"} is ${showValue(name)}.`,
      advice: `Expected ${Object.keys(schedulers).join(", ")}.`,
    });
  const scheduler = schedulers[name as SchedulerName];
  return Scheduler.fromConfig.call<SchedulerClass<Scheduler>, [SchedulerConfig], Scheduler>(scheduler, config);
}
