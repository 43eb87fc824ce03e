/** Turn a brief into finished files below `public`, before the bundle. */

import { randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Caption } from "@remotion/captions";
import {
  createClient,
  type Job,
  type Model,
  type NodeClient,
  ResponseError,
  RushesError,
  type SucceededJob,
  sha256Of,
} from "rushes/node";
import type { Clip } from "../clip.js";
import { type ClipRequest, type KeyedRequest, keyed, LABEL } from "./request.js";

export interface SubmitClipsOptions {
  /** Default: one with the settings of the environment. */
  client?: NodeClient;
}

export interface ResolveOptions extends SubmitClipsOptions {
  /** Remotion's public folder; default: `public`. */
  publicDir?: string;
  /** A folder in it for the clips; default: `generated`. */
  folder?: string;
  signal?: AbortSignal;
  /** Of each clip. After it a JobTimeoutError is the cause; the jobs go on, and are found again. */
  timeoutMs?: number;
  onProgress?: (job: Job) => void;
}

/** A clip of a brief has no video: `cause` says why, as a ResponseError or a JobFailedError does. */
export class ClipError extends RushesError {
  override name = "ClipError";
  /** Its place in the brief, counted from 0. */
  readonly index: number;

  constructor(index: number, { title }: KeyedRequest, cause: RushesError) {
    super(`clip ${index} (${JSON.stringify(title)}): ${cause.message}`, { cause });
    this.index = index;
  }
}

/**
 * Submit the clips that were not submitted yet, and return the jobs of all, in order. With `webhook_url`
 * in the requests, the service calls when each new one is finished; then `resolveClips` fetches. A clip
 * that was made earlier has `succeeded` already, and brings no webhook. Throws a ClipError for the first
 * that is refused; the others are submitted.
 */
export async function submitClips(
  brief: readonly ClipRequest[],
  { client = createClient() }: SubmitClipsOptions = {},
): Promise<Job[]> {
  const isOutdated = outdated(client);
  const requests = await Promise.all(brief.map(keyed));
  return forEach(requests, (asked) => jobOf(client, asked, isOutdated));
}

/**
 * Make the clips of a brief, and return them in its order. Each is a file `<sha256>.mp4`, and beside
 * it what it was made of: where that is there, nothing is asked of the service, but for a placeholder
 * whether it would make that again. Else a job that makes the clip, or has made it, is found by its
 * label; only what nobody has asked for yet, or what failed, is submitted. All are submitted before
 * the first is waited for. Throws a ClipError for the first clip that is refused or fails; the others
 * go on, and are found again.
 */
export async function resolveClips(
  brief: readonly ClipRequest[],
  options: ResolveOptions = {},
): Promise<Clip[]> {
  const { client = createClient(), publicDir = "public", folder = "generated" } = options;
  const place: Place = { publicDir, folder };
  await mkdir(join(publicDir, folder), { recursive: true });
  const isOutdated = outdated(client);
  const requests = await Promise.all(brief.map(keyed));
  const begun = new Map<string, Clip | Job>();
  await forEach(requests, async (asked) => {
    const clip = await cached(place, asked.key);
    const isCurrent = clip !== null && !(await isOutdated(asked, clip));
    begun.set(asked.key, isCurrent ? clip : await jobOf(client, asked, isOutdated));
  });
  const clips = await forEach(requests, async ({ key }) => {
    const found = begun.get(key) as Clip | Job;
    return "src" in found ? found : made(client, place, key, found, options);
  });
  const placeholders = clips.filter(({ sandbox }) => sandbox).length;
  if (placeholders > 0) {
    console.warn(`${placeholders} of ${clips.length} clips are placeholders of the sandbox`);
  }
  return clips;
}

/** Do it for each clip, once for equal ones; throws a ClipError for the first that fails, at the end of all. */
async function forEach<T>(
  requests: readonly KeyedRequest[],
  act: (asked: KeyedRequest) => Promise<T>,
): Promise<T[]> {
  const acts = new Map<string, Promise<T>>();
  for (const asked of requests) {
    if (!acts.has(asked.key)) acts.set(asked.key, act(asked));
  }
  await Promise.allSettled(acts.values());
  const results: T[] = [];
  for (const [index, asked] of requests.entries()) {
    try {
      results.push(await (acts.get(asked.key) as Promise<T>));
    } catch (error) {
      throw error instanceof RushesError ? new ClipError(index, asked, error) : error;
    }
  }
  return results;
}

type OutdatedTest = (asked: KeyedRequest, clip: { sandbox: boolean }) => Promise<boolean>;

/**
 * Tell a placeholder that the service would not make again: it was made before the service got a real
 * model, and nobody has asked for the sandbox by name.
 */
function outdated(client: NodeClient): OutdatedTest {
  let models: Promise<Model[]> | undefined;
  return async ({ kind, byDefault }, { sandbox }) => {
    if (!sandbox || !byDefault) return false;
    models ??= client.models();
    return (await models).find((model) => model.kind === kind)?.sandbox === false;
  };
}

interface Place {
  publicDir: string;
  folder: string;
}

/** The clip of an earlier run, if its file is still what it was. */
async function cached({ publicDir, folder }: Place, key: string): Promise<Clip | null> {
  // A disk that was full or a machine that fell over may leave a record that is empty or broken.
  const clip = await readFile(recordOf({ publicDir, folder }, key), "utf8")
    .then((record) => JSON.parse(record) as Clip | null)
    .catch(() => null);
  if (typeof clip?.src !== "string") return null;
  const sha256 = await sha256Of(join(publicDir, clip.src)).catch(() => null);
  const isWhole = clip.src.endsWith(`/${sha256}.mp4`);
  return isWhole ? clip : null;
}

async function made(
  client: NodeClient,
  place: Place,
  key: string,
  { id }: Job,
  { signal, timeoutMs, onProgress }: ResolveOptions,
): Promise<Clip> {
  const job = await client.waitForJob(id, { signal, timeoutMs, onProgress });
  const { result, sandbox } = job;
  const src = `${place.folder}/${result.sha256}.mp4`;
  await fetchInto(client, job, join(place.publicDir, src), signal);
  const clip: Clip = {
    src,
    jobId: job.id,
    width: result.width,
    height: result.height,
    fps: result.fps,
    durationInSeconds: result.duration_seconds,
    hasAudio: result.has_audio,
    sandbox,
    captions: await captionsOf(client, place, job, signal),
  };
  await writeWhole(recordOf(place, key), JSON.stringify(clip, null, 2));
  return clip;
}

/** Find the job of a clip, or submit it; one that failed, is outdated or lost its files is made anew. */
async function jobOf(
  client: NodeClient,
  asked: KeyedRequest,
  isOutdated: OutdatedTest,
): Promise<Job> {
  const useless = new Set<string>();
  for await (const job of client.jobs.list({ metadata: { [LABEL]: asked.key } })) {
    if (isUseful(job) && !(await isOutdated(asked, job))) return job;
    useless.add(job.id);
  }
  // Whoever finds the same jobs sends the same Idempotency-Key: two at once make one job. Where
  // earlier ones were deleted, the key may be that of a later one, which is useless or deleted, too.
  for (let attempt = useless.size; ; attempt++) {
    const { id } = await asked.submit(client, attempt);
    const job = useless.has(id) ? null : await find(client, id);
    if (job !== null) return job;
  }
}

/** Null if it was deleted: a repeated submit is still answered with it. */
async function find(client: NodeClient, jobId: string): Promise<Job | null> {
  try {
    return await client.jobs.get(jobId);
  } catch (error) {
    if (error instanceof ResponseError && error.code === "not_found") return null;
    throw error;
  }
}

function isUseful(job: Job): boolean {
  if (job.status === "succeeded") return Date.parse(job.result.expires_at) > Date.now();
  return job.status === "queued" || job.status === "starting" || job.status === "running";
}

async function fetchInto(
  client: NodeClient,
  job: SucceededJob,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  if ((await sha256Of(path).catch(() => null)) === job.result.sha256) return;
  // Another call may be at the same clip.
  const temporary = `${path}.${randomUUID()}`;
  try {
    await client.download(job, temporary, { signal });
    await rename(temporary, path);
  } finally {
    await rm(`${temporary}.part`, { force: true });
  }
}

async function captionsOf(
  client: NodeClient,
  { publicDir, folder }: Place,
  job: SucceededJob,
  signal: AbortSignal | undefined,
): Promise<Caption[] | null> {
  const { input, result } = job;
  const isJson = input.kind === "avatar" && input.captions?.format === "json";
  if (!isJson || result.captions_url === null) return null;
  const temporary = join(publicDir, folder, `${job.id}.${randomUUID()}`);
  try {
    await client.download(job, temporary, { variant: "captions", signal });
    return JSON.parse(await readFile(temporary, "utf8")) as Caption[];
  } finally {
    await rm(temporary, { force: true });
    await rm(`${temporary}.part`, { force: true });
  }
}

function recordOf({ publicDir, folder }: Place, key: string): string {
  return join(publicDir, folder, `${key}.json`);
}

async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomUUID()}`;
  await writeFile(temporary, text, { flush: true });
  await rename(temporary, path);
}
