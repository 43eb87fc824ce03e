/** The command line in TypeScript: `npx tsx scripts/generate-video-modal.ts --help`. */

import { randomUUID } from "node:crypto";
import { statSync } from "node:fs";
import { dirname, join } from "node:path";
import { createClient, type NodeClient, type Retry } from "../clients/typescript/src/node/index.js";
import { mayHaveArrived, repeat, resume } from "./command/again.js";
import { CommandError, Exit, type ExitCode, explain } from "./command/exits.js";
import {
  avatarOf,
  connectionOf,
  FLAG_NAMES,
  type Flags,
  HELP,
  parseFlags,
  videoOf,
} from "./command/flags.js";
import { type Meter, meter, videoFacts } from "./command/progress.js";

// After these the job is still there, or will be.
const GOES_ON: ReadonlySet<ExitCode> = new Set([Exit.failure, Exit.unreachable, Exit.interrupted]);

async function main(words: string[]): Promise<ExitCode> {
  const flags = parseFlags(words);
  if (flags.help) {
    console.log(HELP);
    return Exit.ok;
  }
  const line = meter();
  const retries: unknown[] = [];
  const rushes = createClient({
    ...connectionOf(flags),
    onRetry: ({ error, delayMs }: Retry) => {
      retries.push(error);
      line.say(`${error.message}; trying again in ${(delayMs / 1000).toFixed(1)} s`);
    },
  });
  if (flags.health) return showHealth(rushes, flags);
  checkOutput(flags);
  const jobId = flags.job ?? (await submit(rushes, flags, words, retries));
  try {
    return await finish(rushes, jobId, flags, line);
  } catch (error) {
    line.end();
    const { exit, message } = explain(error, FLAG_NAMES);
    const hint = GOES_ON.has(exit) ? [`continue with: ${resume(jobId, flags)}`] : [];
    throw new CommandError(exit, message, ...hint);
  }
}

async function submit(
  rushes: NodeClient,
  flags: Flags,
  words: string[],
  retries: unknown[],
): Promise<string> {
  const idempotencyKey = flags["idempotency-key"] ?? randomUUID();
  const signal = interruption("interrupted before the service answered");
  const options = { idempotencyKey, signal };
  try {
    const handle = flags.avatar
      ? await rushes.generateAvatar(await avatarOf(flags), options)
      : await rushes.generateVideo(await videoOf(flags), options);
    return handle.id;
  } catch (error) {
    if (!signal.aborted && ![...retries, error].some(mayHaveArrived)) throw error;
    const { exit, message } = explain(error, FLAG_NAMES);
    const again = repeat(words, idempotencyKey, flags);
    throw new CommandError(exit, message, `this creates no second job: ${again}`);
  }
}

/** A signal that Ctrl-C aborts, with a CommandError that says this. */
function interruption(message: string): AbortSignal {
  const interrupt = new AbortController();
  process.removeAllListeners("SIGINT");
  process.once("SIGINT", () => interrupt.abort(new CommandError(Exit.interrupted, message)));
  return interrupt.signal;
}

async function finish(
  rushes: NodeClient,
  jobId: string,
  flags: Flags,
  line: Meter,
): Promise<ExitCode> {
  const signal = interruption(`job ${jobId} goes on`);
  line.say(`job ${jobId}`);
  const job = await rushes.waitForJob(jobId, { signal, onProgress: line.show });
  line.end();
  const file = await rushes.download(job, outputOf(flags, jobId), { signal });
  if (flags.json) {
    console.log(JSON.stringify(job, null, 2));
  } else {
    console.log(`saved ${file}  (${videoFacts(job)})`);
    if (job.sandbox) console.log("  the sandbox made it: a placeholder with your prompt on it");
  }
  return Exit.ok;
}

async function showHealth(rushes: NodeClient, flags: Flags): Promise<ExitCode> {
  const health = await rushes.health();
  if (flags.json) {
    console.log(JSON.stringify(health, null, 2));
  } else {
    const { status, model, gpu, warm, version, queue } = health;
    console.log(`${status}: Rushes ${version}`);
    console.log(`  model  ${model}, ${warm ? "warm" : "not warm"}, ${gpu ?? "no GPU"}`);
    if (queue) console.log(`  queue  ${queue.queued} queued, ${queue.running} running`);
    for (const { name, reason } of health.unfit_workers) console.log(`  unfit  ${name}: ${reason}`);
  }
  return health.status === "unhealthy" ? Exit.failure : Exit.ok;
}

function outputOf({ output }: Flags, jobId: string): string {
  const name = `${jobId}.mp4`;
  if (output === undefined) return name;
  return statSync(output, { throwIfNoEntry: false })?.isDirectory() ? join(output, name) : output;
}

/** Throws a CommandError if the file cannot be written, before anything is submitted. */
function checkOutput({ output, force }: Flags): void {
  if (output === undefined) return;
  // Not created: a typo would hide a video that was paid for.
  const folder = dirname(output);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new CommandError(Exit.invalid, `no such folder: ${folder}`);
  }
  const there = statSync(output, { throwIfNoEntry: false });
  if (there === undefined || there.isDirectory()) return;
  // A device or a pipe would be replaced by the video.
  if (!there.isFile()) throw new CommandError(Exit.invalid, `${output} is no file`);
  if (!force) {
    throw new CommandError(Exit.invalid, `${output} already exists; --force overwrites it`);
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const { exit, message } = explain(error, FLAG_NAMES);
  console.error(message);
  process.exitCode = exit;
}
