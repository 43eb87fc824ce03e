// Uses a client that @hey-api/openapi-ts has generated from clients/openapi.json against a live service,
// as somebody who trusts its types would: `node out/use.js URL KEY`; `client` is written by the test.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { client } from "./client/client.gen.js";
import { generateVideo, getContent, getJob, listJobs, streamJobEvents } from "./client/index.js";

const [url, key] = process.argv.slice(2) as [string, string];
client.setConfig({ baseUrl: url, auth: key });

const submitted = await generateVideo({
  body: { prompt: "a red ball", num_frames: 24, metadata: { scene: "16" } },
  headers: { "Idempotency-Key": "scene-16" },
});
// The 200 of `b64_json` is no job.
assert(submitted.data && "status" in submitted.data, JSON.stringify(submitted.error));
const path = { job_id: submitted.data.id };

const types: string[] = [];
for await (const event of (await streamJobEvents({ path })).stream) {
  if (typeof event === "object" && event !== null && "type" in event)
    types.push(String(event.type));
  if (types.at(-1) === "job.succeeded") break;
}
assert.equal(types.at(-1), "job.succeeded");

const { data: job } = await getJob({ path, query: { wait: 50 } });
// Checked by the compiler as well: what has succeeded has a result, and nothing here may be null.
assert(job?.status === "succeeded");
const sha256: string = job.result.sha256;

const { data: video } = await getContent({ path, parseAs: "blob" });
assert(video);
const digest = createHash("sha256").update(new Uint8Array(await video.arrayBuffer()));
assert.equal(digest.digest("hex"), sha256);

const { data: list } = await listJobs({
  query: { status: ["succeeded", "failed"], ids: [job.id] },
});
assert.deepEqual(
  list?.data.map(({ id }) => id),
  [job.id],
);
const { data: none } = await listJobs({ query: { status: ["queued"], ids: [job.id] } });
assert.deepEqual(none?.data, []);

// An error is one of those that the route may answer with, told apart by its code.
const refused = await generateVideo({ body: { prompt: "x", width: 65 } });
assert(refused.error?.code === "invalid_request");
assert.equal(refused.error.errors[0]?.pointer, "/width");
const unknown = await getJob({ path: { job_id: "job_none" } });
assert.equal(unknown.error?.code, "not_found");
// @ts-expect-error: this route never answers that, and the types know.
assert(unknown.error?.code !== "queue_full");

console.log("used");
