/** Show the progress of a job: one line that is redrawn on a terminal, a line for each step elsewhere. */

import type { Job, SucceededJob } from "../../clients/typescript/src/node/index.js";

const BAR_WIDTH = 24;
const LINE_EVERY = 25; // percent
const CLEAR_LINE = "\r\x1b[K";

export interface Meter {
  show(job: Job): void;
  /** Print a line that stays. */
  say(text: string): void;
  /** End the line that is redrawn. */
  end(): void;
}

/** Write to standard error; standard output is for the result alone. */
export function meter(): Meter {
  return process.stderr.isTTY ? bar() : lines();
}

function bar(): Meter {
  const begin = Date.now();
  let line = "";
  return {
    show(job) {
      const filled = "━".repeat(Math.round((job.progress * BAR_WIDTH) / 100));
      const seconds = Math.round((Date.now() - begin) / 1000);
      const percent = `${job.progress}`.padStart(3);
      line = `${filled.padEnd(BAR_WIDTH, "─")} ${percent} %  ${seconds} s  ${activity(job)}`;
      process.stderr.write(CLEAR_LINE + line.slice(0, (process.stderr.columns || 80) - 1));
    },
    say(text) {
      process.stderr.write(`${CLEAR_LINE}${text}\n${line}`);
    },
    end() {
      if (line !== "") process.stderr.write("\n");
      line = "";
    },
  };
}

function lines(): Meter {
  let last = "";
  return {
    show(job) {
      const reason = job.status === "queued" ? job.stage_detail : null;
      const state = `${job.status} ${job.stage} ${Math.floor(job.progress / LINE_EVERY)} ${reason}`;
      if (state !== last) console.error(`${`${job.progress}`.padStart(3)} %  ${activity(job)}`);
      last = state;
    },
    say: (text) => console.error(text),
    end() {},
  };
}

/** As `generate, step 3 of 8 (about 40 s left)`, or `queued, waits for its voice: …`. */
function activity(job: Job): string {
  const isWaiting = job.status === "queued" && job.stage_detail !== null;
  const isBusy = job.status === "running" && job.stage !== null;
  const words = [isBusy ? job.stage : job.status, isBusy || isWaiting ? job.stage_detail : null]
    .filter(Boolean)
    .join(", ");
  const ahead = job.queue_position ? [`${job.queue_position} ahead`] : [];
  // Nobody knows when what a queued job waits for is there.
  const isKnown = job.eta_seconds !== null && !isWaiting;
  const left = isKnown ? [`about ${duration(job.eta_seconds as number)} left`] : [];
  const wait = [...ahead, ...left].join(", ");
  return wait === "" ? words : `${words}  (${wait})`;
}

function duration(seconds: number): string {
  if (seconds < 100) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** As `768x512, 121 frames at 24 fps, 5.04 s, 1.3 MB`. */
export function videoFacts({ result }: SucceededJob): string {
  const size =
    result.bytes < 1e6
      ? `${(result.bytes / 1e3).toFixed(0)} kB`
      : `${(result.bytes / 1e6).toFixed(1)} MB`;
  const frames = `${result.num_frames} frames at ${result.fps} fps`;
  return `${result.width}x${result.height}, ${frames}, ${result.duration_seconds.toFixed(2)} s, ${size}`;
}
