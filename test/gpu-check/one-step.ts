// One run of a task on device cuda, as a program of its own for ncu to look at. Takes the task as JSON.

import { setDefaultDevice } from "langevin";
import type { Task } from "../../bench/tasks.ts";
import { setUp } from "../../bench/workloads/index.ts";

setDefaultDevice("cuda");
const workload = setUp(JSON.parse(process.argv[2]) as Task);
await workload.run();
await workload.close();
