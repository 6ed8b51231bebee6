// A training step of W4 on device cuda, as a program of its own for ncu to look at.

import { setDefaultDevice } from "langevin";
import { unetTraining, usualUNet } from "../../bench/tasks.ts";
import { setUp } from "../../bench/workloads/index.ts";

setDefaultDevice("cuda");
const workload = setUp(unetTraining(usualUNet, 16));
await workload.run();
await workload.close();
