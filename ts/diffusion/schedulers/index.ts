// All schedulers by diffusers' class, and the one that a config file describes.

import { ArgumentError, showValue } from "../../errors/index.ts";
import { LCMScheduler, TCDScheduler } from "./consistency.ts";
import { DDIMScheduler } from "./ddim.ts";
import { DDPMScheduler } from "./ddpm.ts";
import { DEISMultistepScheduler } from "./deis.ts";
import { DPMSolverMultistepScheduler } from "./dpm-solver-multistep.ts";
import { DPMSolverSinglestepScheduler } from "./dpm-solver-singlestep.ts";
import { EDMDPMSolverMultistepScheduler, EDMEulerScheduler } from "./edm.ts";
import { EulerAncestralDiscreteScheduler, EulerDiscreteScheduler } from "./euler.ts";
import { FlowMatchEulerDiscreteScheduler } from "./flow-match-euler.ts";
import { HeunDiscreteScheduler } from "./heun.ts";
import { LMSDiscreteScheduler } from "./lms.ts";
import { PNDMScheduler } from "./pndm.ts";
import type { SchedulerClass, SchedulerConfig } from "./scheduler.ts";
import { Scheduler } from "./scheduler.ts";
import { UniPCMultistepScheduler } from "./unipc.ts";

/** The classes of diffusers that there are here. */
export const schedulers = {
  DDPMScheduler,
  DDIMScheduler,
  PNDMScheduler,
  EulerDiscreteScheduler,
  EulerAncestralDiscreteScheduler,
  HeunDiscreteScheduler,
  LMSDiscreteScheduler,
  DPMSolverMultistepScheduler,
  DPMSolverSinglestepScheduler,
  DEISMultistepScheduler,
  UniPCMultistepScheduler,
  LCMScheduler,
  TCDScheduler,
  EDMEulerScheduler,
  EDMDPMSolverMultistepScheduler,
  FlowMatchEulerDiscreteScheduler,
} as const;

/** The name of a class of diffusers that there is here. */
export type SchedulerName = keyof typeof schedulers;

/**
 * The scheduler that the contents of diffusers' scheduler_config.json describe; or, given the name of another class, one of
 * that with the same options, as far as it has them (`DDIMScheduler.from_config(scheduler.config)`).
 */
export function schedulerFromConfig(config: SchedulerConfig, name: unknown = config._class_name): Scheduler {
  if (typeof name !== "string" || !Object.hasOwn(schedulers, name))
    throw new ArgumentError({
      op: "schedulerFromConfig",
      problem: `${name === config._class_name ? "_class_name" : "the class"} is ${showValue(name)}.`,
      advice: `Expected ${Object.keys(schedulers).join(", ")}.`,
    });
  const scheduler: SchedulerClass<Scheduler> = schedulers[name as SchedulerName];
  return Scheduler.fromConfig.call<SchedulerClass<Scheduler>, [SchedulerConfig], Scheduler>(scheduler, config);
}
