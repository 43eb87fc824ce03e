// Uses types that were generated from clients/openapi.json against a live service, as somebody who
// trusts them would: `node out/use.js URL KEY`; `schema.d.ts` is written by the test.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [url, key] = process.argv.slice(2) as [string, string];
const headers = { Authorization: `Bearer ${key}` };
const client = createClient<paths>({ baseUrl: url, headers });

type Succeeded = components["schemas"]["SucceededJob"];

async function submit(): Promise<Succeeded> {
  const { data, error, response } = await client.POST("/generate-video", {
    body: { prompt: "a red ball", num_frames: 24, metadata: { scene: "14" } },
    headers: { Prefer: "wait=50" },
  });
  assert(data && "status" in data, JSON.stringify(error));
  assert(response.headers.get("location")?.endsWith(data.id));
  if (data.status !== "succeeded") throw new Error(`the job is ${data.status}`);
  return data;
}

const video = await submit();
// Checked by the compiler as well: what has succeeded has a result, and nothing here may be null.
const link: string = video.result.video_url;
const seed: number = video.input.seed;
assert(link.startsWith(url) && seed >= 0);
assert(video.input.kind === "video" && video.input.image === null);
assert.equal(new Date(video.finished_at) >= new Date(video.created_at), true);

// A switch over `status` tells the compiler which job it is.
const same = await client.GET("/v1/jobs/{job_id}", { params: { path: { job_id: video.id } } });
assert(same.data);
switch (same.data.status) {
  case "succeeded":
    assert.equal(same.data.result.sha256, video.result.sha256);
    break;
  case "failed":
    throw new Error(same.data.error.message);
  case "canceled":
  case "expired":
  case "queued":
  case "starting":
  case "running":
    throw new Error(`no result: ${same.data.result?.video_url}`);
}

const content = await client.GET("/v1/jobs/{job_id}/content", {
  params: { path: { job_id: video.id } },
  parseAs: "arrayBuffer",
});
assert(content.data);
assert.equal(Buffer.from(content.data as ArrayBuffer).toString("latin1", 4, 8), "ftyp");

// Filters, with a label of the owner's own.
const scene = async (text: string) => {
  const { data } = await client.GET("/v1/jobs", {
    params: { query: { status: ["succeeded", "failed"], metadata: { scene: text }, limit: 5 } },
  });
  return data?.data.map((job) => job.id);
};
assert.deepEqual(await scene("14"), [video.id]);
assert.deepEqual(await scene("13"), []);

// An error is one of those that the route may answer with, told apart by its code.
const refused = await client.POST("/generate-video", { body: { prompt: "x", width: 65 } });
assert(refused.error?.code === "invalid_request");
assert.equal(refused.error.errors[0]?.pointer, "/width");
const gone = await client.GET("/v1/jobs/{job_id}", { params: { path: { job_id: "job_none" } } });
assert.equal(gone.error?.code, "not_found");
// @ts-expect-error: this route never answers that, and the types know.
assert(gone.error?.code !== "queue_full");

console.log("used");
