// Against the service at RUSHES_URL, with the key RUSHES_API_KEY and the model slate.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import {
  createClient,
  type Job,
  JobCanceledError,
  JobFailedError,
  JobTimeoutError,
  openFile,
  ResponseError,
  RushesError,
  type VideoRequest,
} from "../src/node/index.js";

const rushes = createClient();
const tiny: VideoRequest = { prompt: "a red ball", width: 64, height: 64, num_frames: 4 };
const long: VideoRequest = { ...tiny, width: 1280, height: 720, duration_seconds: 120, fps: 60 };
delete long.num_frames;

// A PNG of 64 x 64 grey pixels would do; this one comes from the service itself.
const folder = await mkdtemp(join(tmpdir(), "rushes-"));
const first = await (await rushes.generateVideo(tiny)).result();
const frame = await rushes.download(first, join(folder, "frame.png"), { variant: "last_frame" });
const pixels = await readFile(frame);

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

test("a prompt becomes a file, and its progress is told", async () => {
  const seen: Job[] = [];

  const handle = await rushes.generateVideo({ ...tiny, metadata: { scene: "12" } });
  const job = await handle.result({ onProgress: (progress) => seen.push(progress) });
  const path = await rushes.download(job, join(folder, "clip.mp4"));

  assert.equal(job.id, handle.id);
  assert.equal(job.result.num_frames, 4);
  assert.equal(sha256(await readFile(path)), job.result.sha256);
  assert.equal(seen.at(-1)?.status, "succeeded");
  const percents = seen.map((progress) => progress.progress);
  assert.deepEqual(
    percents,
    percents.toSorted((a, b) => a - b),
  );
});

test("of several downloads to one path at once, one saves it and the others are errors", async () => {
  const path = join(folder, "at-once.mp4");
  const around = join(folder, "..", basename(folder), "at-once.mp4");

  const downloads = [path, path, around].map((each) => rushes.download(first, each));
  const [saved, ...refused] = await Promise.allSettled(downloads);

  assert.equal(saved?.status, "fulfilled");
  for (const { reason } of refused as PromiseRejectedResult[]) {
    assert(reason instanceof RushesError);
    assert.match(reason.message, /another download to .* is in progress/);
  }
  assert.equal(sha256(await readFile(path)), first.result.sha256);
  await rushes.download(first, path);
});

test("a download whose file another process takes away begins again", async () => {
  const path = join(folder, "taken.png");
  const retries: string[] = [];
  const taking: typeof fetch = async (input, init) => {
    const response = await fetch(input, init);
    const isFile = response.headers.get("content-type") === "image/png";
    if (!isFile || retries.length > 0) return response;
    const flush = () => rm(`${path}.part`);
    return new Response(response.body?.pipeThrough(new TransformStream({ flush })), response);
  };
  const client = createClient({
    fetch: taking,
    onRetry: ({ error }) => retries.push(error.message),
  });

  await client.download(first, path, { variant: "last_frame" });

  assert.deepEqual(retries, [`${path}.part is gone before it was renamed`]);
  assert.deepEqual(await readFile(path), pixels);
});

test("the status of a job tells its type", async () => {
  const job: Job = await rushes.jobs.get(first.id);

  // Without the comparison this does not compile: a job has a result, or null.
  // @ts-expect-error
  assert(job.result.video_url);
  if (job.status !== "succeeded") throw new Error(job.status);
  assert.equal(job.result.sha256, first.result.sha256);
});

test("a refused request carries the problem document", async () => {
  const error = await rushes.generateVideo({ ...tiny, width: 65 }).catch((cause: unknown) => cause);

  assert(error instanceof ResponseError);
  assert.equal(error.status, 422);
  assert(error.problem?.code === "invalid_request");
  assert.equal(error.fields[0]?.pointer, "/width");
  assert.match(error.message, /\/width: .*nearest: 64 and 66/);
  assert.match(error.requestId ?? "", /^req_/);
});

test("a job that fails, is canceled or takes too long is an error with its id", async () => {
  const broken = pixels.subarray(0, pixels.length / 2);
  const failing = await rushes.generateVideo({ ...tiny, image: broken });
  const failed = await failing.result().catch((cause: unknown) => cause);
  assert(failed instanceof JobFailedError);
  assert.deepEqual([failed.jobId, failed.job.error.code], [failing.id, "image_unreadable"]);

  const handle = await rushes.generateVideo(long);
  const timeout = await handle.result({ timeoutMs: 50 }).catch((cause: unknown) => cause);
  assert(timeout instanceof JobTimeoutError);
  assert.equal(timeout.jobId, handle.id);

  const reason = new Error("the user left");
  const aborted = handle.result({ signal: AbortSignal.abort(reason) });
  await assert.rejects(aborted, reason);

  const waiting = rushes.waitForJob(handle.id).catch((cause: unknown) => cause);
  await handle.cancel();
  const canceled = await waiting;
  assert(canceled instanceof JobCanceledError);
  assert.equal(canceled.jobId, handle.id);
});

test("media are bytes of any kind, files, base64, URLs and jobs", async () => {
  await writeFile(join(folder, "first.png"), pixels);
  const view = new Uint8Array(pixels.length + 2).subarray(1, -1);
  view.set(pixels);
  const media = {
    blob: new Blob([pixels]),
    file: new File([pixels], "first.png", { type: "image/png" }),
    buffer: pixels,
    view,
    "array buffer": view.slice().buffer,
    path: await openFile(join(folder, "first.png")),
    base64: pixels.toString("base64"),
    "data URI": new URL(`data:image/png;base64,${pixels.toString("base64")}`),
  };
  for (const [kind, image] of Object.entries(media)) {
    const { job } = await rushes.generateVideo({ ...tiny, image, metadata: { kind } });
    assert(job.input.kind === "video");
    assert.equal(job.input.image?.sha256, sha256(pixels), kind);
    assert.deepEqual(job.metadata, { kind });
  }

  const next = await rushes.generateVideo({ ...tiny, video: first.id });
  assert(next.job.input.kind === "video");
  assert.equal(next.job.input.video?.job_id, first.id);

  await assert.rejects(openFile(join(folder, "none.png")));
});

test("keyframes may be files beside jobs", async () => {
  const keyframes = [
    { frame: 1, image: pixels },
    { frame: 2, image: first.id },
  ];

  const { job } = await rushes.generateVideo({ ...tiny, keyframes });

  assert(job.input.kind === "video");
  const sources = job.input.keyframes?.map(({ frame, image }) => [frame, image.source]);
  assert.deepEqual(sources, [
    [1, "upload"],
    [2, "job"],
  ]);
});

test("a list is as long as there are jobs, whatever the page", async () => {
  const metadata = { list: crypto.randomUUID() };
  const ids: string[] = [];
  for (let n = 0; n < 5; n++) {
    ids.unshift((await rushes.generateVideo({ ...tiny, metadata })).id);
  }

  const found: string[] = [];
  for await (const job of rushes.jobs.list({ metadata, limit: 2 })) found.push(job.id);

  assert.deepEqual(found, ids);
});

test("a list keeps the jobs of several states", async () => {
  const states = new Set<string>();
  for await (const job of rushes.jobs.list({ status: ["succeeded", "failed"] })) {
    states.add(job.status);
  }

  assert.deepEqual([...states].sort(), ["failed", "succeeded"]);
});

test("submits with one Idempotency-Key are one job", async () => {
  const options = { idempotencyKey: crypto.randomUUID() };

  const [one, other] = await Promise.all([
    rushes.generateVideo(tiny, options),
    rushes.generateVideo(tiny, options),
  ]);

  assert.equal(one.id, other.id);
});

test("a final job can be retried with changes, and deleted", async () => {
  const again = await (await rushes.jobs.retry(first.id, { num_frames: 6 })).result();
  assert.deepEqual([again.retry_of, again.result.num_frames], [first.id, 6]);

  await rushes.jobs.delete(again.id);
  const error = await rushes.jobs.get(again.id).catch((cause: unknown) => cause);
  assert(error instanceof ResponseError && error.code === "not_found");
  await assert.rejects(rushes.waitForJob(again.id), ResponseError);
});

test("what the service is and what a request costs can be asked", async () => {
  const health = await rushes.health();
  assert.equal(health.status, "healthy");
  const [model] = await rushes.models();
  assert.equal(model?.id, "slate");
  const estimate = await rushes.estimate(tiny);
  assert.equal(estimate.input.width, 64);
  // A text makes it an avatar, which this service has no model for.
  const error = await rushes.estimate({ text: "Hello." }).catch((cause: unknown) => cause);
  assert(error instanceof ResponseError);
  assert.match(error.message, /no avatar model/);
  const { data } = await rushes.api.GET("/v1/usage");
  assert(data && data.total.jobs > 0);
});
