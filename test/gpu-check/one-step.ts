// One run of a task on device cuda, as a program of its own for ncu to look at. Takes task and manner as JSON.

import { setDefaultDevice } from "langevin";
import type { Task } from "../../bench/tasks.ts";
import { setUp } from "../../bench/workloads/index.ts";
import type { Manner } from "../../bench/workloads/workload.ts";

setDefaultDevice("cuda");
const [task, manner] = process.argv.slice(2).map((text) => JSON.parse(text) as unknown);
const workload = setUp(task as Task, manner as Manner);
await workload.run();
await workload.close();
