/** Turn a brief into finished files below `public`, before the bundle. */

import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Caption } from "@remotion/captions";
import {
  createClient,
  type Job,
  type NodeClient,
  ResponseError,
  type SucceededJob,
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
  /** Of each clip. After it a JobTimeoutError is thrown; the jobs go on, and are found again. */
  timeoutMs?: number;
  onProgress?: (job: Job) => void;
}

/**
 * Submit the clips that were not submitted yet, and return the jobs of all, in order. With `webhook_url`
 * in the requests, the service calls when each new one is finished; then `resolveClips` fetches. A clip
 * that was made earlier has `succeeded` already, and brings no webhook.
 */
export async function submitClips(
  brief: readonly ClipRequest[],
  { client = createClient() }: SubmitClipsOptions = {},
): Promise<Job[]> {
  return Promise.all(brief.map(async (request) => jobOf(client, await keyed(request, client.url))));
}

/**
 * Make the clips of a brief, and return them in its order. Each is a file `<sha256>.mp4`, and beside
 * it what it was made of: where that is there, nothing is asked of the service. Else a job that makes
 * the clip, or has made it, is found by its label; only what nobody has asked for yet, or what failed,
 * is submitted. Throws the error of the first clip that fails; the others go on, and are found again.
 */
export async function resolveClips(
  brief: readonly ClipRequest[],
  options: ResolveOptions = {},
): Promise<Clip[]> {
  const { client = createClient(), publicDir = "public", folder = "generated" } = options;
  const place: Place = { publicDir, folder };
  await mkdir(join(publicDir, folder), { recursive: true });
  const requests = await Promise.all(brief.map((request) => keyed(request, client.url)));
  // Equal requests are one clip.
  const making = new Map<string, Promise<Clip>>();
  for (const asked of requests) {
    if (!making.has(asked.key)) making.set(asked.key, clipOf(client, place, asked, options));
  }
  await Promise.allSettled(making.values());
  return Promise.all(requests.map(({ key }) => making.get(key) as Promise<Clip>));
}

async function clipOf(
  client: NodeClient,
  place: Place,
  asked: KeyedRequest,
  options: ResolveOptions,
): Promise<Clip> {
  return (await cached(place, asked.key)) ?? (await made(client, place, asked, options));
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
  const isWhole = clip.src.endsWith(`/${await sha256Of(join(publicDir, clip.src))}.mp4`);
  return isWhole ? clip : null;
}

async function made(
  client: NodeClient,
  place: Place,
  asked: KeyedRequest,
  { signal, timeoutMs, onProgress }: ResolveOptions,
): Promise<Clip> {
  const job = await client.waitForJob((await jobOf(client, asked)).id, {
    signal,
    timeoutMs,
    onProgress,
  });
  const { result, sandbox } = job;
  const src = `${place.folder}/${result.sha256}.mp4`;
  await fetchInto(client, job, join(place.publicDir, src));
  const clip: Clip = {
    src,
    jobId: job.id,
    width: result.width,
    height: result.height,
    fps: result.fps,
    durationInSeconds: result.duration_seconds,
    hasAudio: result.has_audio,
    sandbox,
    captions: await captionsOf(job),
  };
  await writeWhole(recordOf(place, asked.key), JSON.stringify(clip, null, 2));
  return clip;
}

/** Find the job of a clip, or submit it; one that failed, or lost its files, is made anew. */
async function jobOf(client: NodeClient, asked: KeyedRequest): Promise<Job> {
  const useless = new Set<string>();
  for await (const job of client.jobs.list({ metadata: { [LABEL]: asked.key } })) {
    if (isUseful(job)) return job;
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

async function fetchInto(client: NodeClient, job: SucceededJob, path: string): Promise<void> {
  if ((await sha256Of(path)) === job.result.sha256) return;
  // Another call may be at the same clip.
  const temporary = `${path}.${randomUUID()}`;
  try {
    await client.download(job, temporary);
    await rename(temporary, path);
  } finally {
    await rm(`${temporary}.part`, { force: true });
  }
}

async function captionsOf({ id, result, input }: SucceededJob): Promise<Caption[] | null> {
  const isJson = input.kind === "avatar" && input.captions?.format === "json";
  if (!isJson || result.captions_url === null) return null;
  const response = await fetch(result.captions_url);
  if (!response.ok) throw new Error(`the captions of ${id} cannot be fetched: ${response.status}`);
  return (await response.json()) as Caption[];
}

function recordOf({ publicDir, folder }: Place, key: string): string {
  return join(publicDir, folder, `${key}.json`);
}

async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomUUID()}`;
  await writeFile(temporary, text, { flush: true });
  await rename(temporary, path);
}

/** Null if there is no such file. */
async function sha256Of(path: string): Promise<string | null> {
  if (!(await stat(path).catch(() => null))?.isFile()) return null;
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest("hex");
}
