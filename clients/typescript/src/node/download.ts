/** Download a file of a job; what was received already is not fetched again. */

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { Connection, RequestOptions } from "../connection.js";
import { ConnectionError, ResponseError, RushesError } from "../errors.js";
import { asProblem, backoff, reason, retryAfter, send, sleep, watchdog } from "../http.js";
import { isFinal, type Job, type SucceededJob, type Variant } from "../types.js";
import { successOf } from "../wait.js";

export interface DownloadOptions extends RequestOptions {
  /** Default: `video`. */
  variant?: Variant | undefined;
}

/** A file of a job; null is what the job does not tell of it. */
interface Source {
  url: string;
  bytes: number | null;
  sha256: string | null;
}

const SILENCE_MS = 60_000;

// The paths that are written to: two downloads would write into one `.part`.
const inProgress = new Set<string>();

/** Save a file of a job to `path`, and return that. */
export async function download(
  connection: Connection,
  job: string | SucceededJob,
  path: string,
  options: DownloadOptions = {},
): Promise<string> {
  const target = resolve(path);
  if (inProgress.has(target)) throw new RushesError(`another download to ${path} is in progress`);
  inProgress.add(target);
  try {
    return await downloadAlone(connection, job, path, options);
  } finally {
    inProgress.delete(target);
  }
}

async function downloadAlone(
  connection: Connection,
  job: string | SucceededJob,
  path: string,
  { variant = "video", signal }: DownloadOptions,
): Promise<string> {
  const jobId = typeof job === "string" ? job : job.id;
  const part = `${path}.part`;
  const { isOver, onRetry } = connection.rules({ signal });
  for (let failures = 1; ; failures++) {
    const received = await sizeOf(part);
    try {
      // Asked for anew each time: the link of the last time may have expired.
      const source = sourceOf(await getJob(connection, jobId, signal), variant);
      await fetchRest(connection, source, part, signal);
      await finish(source, part, path);
      return path;
    } catch (error) {
      signal?.throwIfAborted();
      // A proxy that cuts every stream after a while only slows a download down.
      if ((await sizeOf(part)) > received) failures = 1;
      if (!isRetryable(error)) throw error;
      const delayMs = backoff(failures, error);
      if (isOver(failures, 0, delayMs)) throw error;
      onRetry?.({ error, delayMs });
      await sleep(delayMs, signal);
    }
  }
}

function isRetryable(error: unknown): error is ConnectionError | ResponseError {
  return error instanceof ConnectionError || (error instanceof ResponseError && error.retryable);
}

async function getJob(
  { api, rules }: Connection,
  jobId: string,
  signal: AbortSignal | undefined,
): Promise<Job> {
  const params = { path: { job_id: jobId } };
  const get = (inner: AbortSignal) => api.GET("/v1/jobs/{job_id}", { params, signal: inner });
  return (await send(get, { ...rules({ signal }), jobId })).data;
}

/** Throws a JobFailedError and the like, or a RushesError if the job has no such file. */
function sourceOf(job: Job, variant: Variant): Source {
  if (!isFinal(job)) throw new RushesError(`job ${job.id} is ${job.status}: it has no files yet`);
  const { result } = successOf(job);
  if (variant === "video")
    return { url: result.video_url, bytes: result.bytes, sha256: result.sha256 };
  const url = result[`${variant}_url`];
  if (url === null) throw new RushesError(`job ${job.id} has no ${variant}`);
  return { url, bytes: null, sha256: null };
}

/** Append what is missing, or write all of a file whose size is not known. */
async function fetchRest(
  connection: Connection,
  { url, bytes }: Source,
  part: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const received = await sizeOf(part);
  if (received === bytes) return;
  const canResume = bytes !== null && received > 0 && received < bytes;
  const silence = watchdog(signal, SILENCE_MS);
  try {
    // Without the key: the link is signed, and may lead to another host.
    const headers: HeadersInit = canResume ? { range: `bytes=${received}-` } : {};
    const response = await connection
      .fetch(url, { headers, signal: silence.signal })
      .catch(throwConnectionError);
    if (!response.ok) throw await responseError(response);
    await write(response, part, silence.feed);
  } finally {
    silence.stop();
  }
}

async function responseError(response: Response): Promise<ResponseError> {
  const problem = asProblem(await response.json().catch(() => null));
  return new ResponseError(response.status, problem, retryAfter(response));
}

async function write(response: Response, part: string, onBytes: () => void): Promise<void> {
  const file: FileHandle = await open(part, response.status === 206 ? "a" : "w");
  try {
    for await (const chunk of chunks(response)) {
      onBytes();
      await file.write(chunk);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The bytes of a response; a ConnectionError tells a cut stream from a full disk. */
async function* chunks(response: Response): AsyncGenerator<Uint8Array> {
  try {
    if (response.body !== null) yield* response.body;
  } catch (cause) {
    throwConnectionError(cause);
  }
}

function throwConnectionError(cause: unknown): never {
  throw new ConnectionError(`the download was cut off: ${reason(cause)}`, { cause });
}

/** Verify what was received, and give it its name. */
async function finish(source: Source, part: string, path: string): Promise<void> {
  try {
    await verify(source, part);
    await rename(part, path);
  } catch (cause) {
    const isGone = cause instanceof Error && "code" in cause && cause.code === "ENOENT";
    throw isGone ? new ConnectionError(`${part} is gone before it was renamed`, { cause }) : cause;
  }
}

/** Throws a ConnectionError, and removes the file, if it is not what the job says. */
async function verify({ bytes, sha256 }: Source, part: string): Promise<void> {
  const size = await sizeOf(part);
  if (bytes !== null && size < bytes) {
    throw new ConnectionError(`the download ended after ${size} of ${bytes} bytes`);
  }
  if (sha256 === null || (await sha256Of(part)) === sha256) return;
  await rm(part);
  throw new ConnectionError("the download does not match the video's SHA-256");
}

/** The SHA-256 of a file, as `result.sha256` of a job has it. */
export async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest("hex");
}

async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch(() => null);
  return found?.size ?? 0;
}
