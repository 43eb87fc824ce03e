/** Wait for a job: by its events; where there are none, by long polls. */

import type { Connection, RequestOptions } from "./connection.js";
import {
  JobCanceledError,
  JobExpiredError,
  JobFailedError,
  JobTimeoutError,
  RushesError,
} from "./errors.js";
import { parseEvents } from "./events.js";
import { backoff, jitter, retryAfter, send, sleep, watchdog, within } from "./http.js";
import { type FinalJob, isFinal, type Job, type SucceededJob } from "./types.js";

export interface WaitOptions extends RequestOptions {
  /** After this a JobTimeoutError is thrown, and the job goes on. Default: wait until it is final. */
  timeoutMs?: number | undefined;
  /** Called with the job at first, and at every change of its progress or its place in the queue. */
  onProgress?: ((job: Job) => void) | undefined;
}

// The service sends a comment every 15 s; a stream that is silent for longer has been cut.
const SILENCE_MS = 45_000;
const FINAL_EVENTS: ReadonlySet<string> = new Set(
  ["succeeded", "failed", "canceled", "expired"].map((status) => `job.${status}`),
);
const RECONNECT_MS = 1_000;
// A stream that breaks so often has a proxy in its way that cuts or holds back streams.
const MAX_BROKEN_STREAMS = 3;
const LONG_POLL_SECONDS = 50;
const PROGRESS_POLL_SECONDS = 2;

/** One wait: the job, and what was seen of it. */
interface Watch {
  connection: Connection;
  jobId: string;
  signal: AbortSignal;
  /** The last event's. */
  eventId: string;
  hasListener: boolean;
  report(job: Job): void;
}

/** Return the job once it has succeeded. Throws a JobFailedError, JobCanceledError, … otherwise. */
export async function waitForJob(
  connection: Connection,
  jobId: string,
  { timeoutMs = Number.POSITIVE_INFINITY, signal, onProgress }: WaitOptions = {},
): Promise<SucceededJob> {
  let seen: Job | null = null;
  const report = (job: Job) => {
    const isNews = JSON.stringify(job) !== JSON.stringify(seen);
    seen = job;
    if (isNews) onProgress?.(job);
  };
  const hasListener = onProgress !== undefined;
  try {
    return successOf(
      await within(timeoutMs, signal, (inner) =>
        untilFinal({ connection, jobId, signal: inner, eventId: "", hasListener, report }),
      ),
    );
  } catch (error) {
    const isOurs =
      error instanceof DOMException && error.name === "TimeoutError" && !signal?.aborted;
    throw isOurs ? new JobTimeoutError(jobId, timeoutMs, seen) : error;
  }
}

export function successOf(job: FinalJob): SucceededJob {
  switch (job.status) {
    case "succeeded":
      return job;
    case "failed":
      throw new JobFailedError(job);
    case "canceled":
      throw new JobCanceledError(job);
    case "expired":
      throw new JobExpiredError(job);
  }
}

async function untilFinal(watch: Watch): Promise<FinalJob> {
  for (let broken = 0; broken < MAX_BROKEN_STREAMS; ) {
    const { job } = await look(watch, 0);
    if (isFinal(job)) return job;
    const end = await follow(watch);
    if (end === "unsupported") break;
    broken = end === "broken" ? broken + 1 : 0;
    if (end === "ended") await sleep(jitter(RECONNECT_MS), watch.signal);
    if (end === "broken") await sleep(backoff(broken, null), watch.signal);
  }
  return poll(watch);
}

/** Follow the stream of the job's events until it ends; the service ends each after a while. */
async function follow(watch: Watch): Promise<"final" | "ended" | "broken" | "unsupported"> {
  const { connection, jobId, eventId, signal } = watch;
  const headers = { ...connection.headers, accept: "text/event-stream" };
  const resume = eventId === "" ? {} : { "last-event-id": eventId };
  const path = `${connection.url}/v1/jobs/${encodeURIComponent(jobId)}/events`;
  const silence = watchdog(signal, SILENCE_MS);
  try {
    const init = { headers: { ...headers, ...resume }, signal: silence.signal };
    const response = await connection.fetch(path, init);
    if (response.body === null || !isEventStream(response)) {
      await response.body?.cancel();
      return endOf(watch, response.status);
    }
    for await (const event of parseEvents(response.body, silence.feed)) {
      watch.eventId = event.id || eventId;
      if (FINAL_EVENTS.has(event.event)) return "final";
      // Events do not tell the place in the queue; comments come while it may change.
      if (watch.hasListener) await look(watch, 0);
    }
    return "ended";
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof RushesError) throw error; // of `look`
    return "broken";
  } finally {
    silence.stop();
  }
}

/** Tell what an answer that is no stream means. */
function endOf(watch: Watch, status: number): "final" | "ended" | "broken" | "unsupported" {
  if (status === 204) return "final"; // nothing comes after the event that was seen last
  if (status === 410) {
    watch.eventId = ""; // the service does not keep that event any more
    return "ended";
  }
  return status === 429 || status >= 500 ? "broken" : "unsupported";
}

function isEventStream(response: Response): boolean {
  const type = response.headers.get("content-type") ?? "";
  return response.ok && type.startsWith("text/event-stream");
}

async function poll(watch: Watch): Promise<FinalJob> {
  // A long poll answers at its end only, so whoever wants to see progress needs short ones.
  const seconds = watch.hasListener ? PROGRESS_POLL_SECONDS : LONG_POLL_SECONDS;
  for (;;) {
    const begin = performance.now();
    const { job, response } = await look(watch, seconds);
    if (isFinal(job)) return job;
    // Answered before its time: too many requests wait already.
    const isEarly = performance.now() - begin < seconds * 900;
    if (isEarly) await sleep(jitter(retryAfter(response) ?? 1000), watch.signal);
  }
}

/** Get the job, however long the service is away within the connection's patience. */
async function look(watch: Watch, waitSeconds: number): Promise<{ job: Job; response: Response }> {
  const { connection, jobId, signal } = watch;
  const params = { path: { job_id: jobId }, query: waitSeconds > 0 ? { wait: waitSeconds } : {} };
  const rules = {
    ...connection.patientRules(jobId, signal),
    timeoutMs: 30_000 + waitSeconds * 1000,
  };
  const { data: job, response } = await send(
    (inner) => connection.api.GET("/v1/jobs/{job_id}", { params, signal: inner }),
    rules,
  );
  watch.report(job);
  return { job, response };
}
