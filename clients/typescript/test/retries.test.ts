// A service that asks for a pause of 30 days: longer than any timer, and than anybody waits.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, beforeEach, test } from "node:test";
import { createClient, JobTimeoutError, ResponseError } from "../src/index.js";

const THIRTY_DAYS_S = 30 * 24 * 3600;

let requests = 0;
const server = createServer((_request, response) => {
  requests++;
  response.writeHead(503, { "retry-after": String(THIRTY_DAYS_S) }).end("maintenance");
});
await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

beforeEach(() => {
  requests = 0;
});
after(() => server.close());

test("a pause that is longer than the client's patience is an error at once", async () => {
  const rushes = createClient({ url });
  const calls = {
    submit: () => rushes.generateVideo({ prompt: "a red ball" }),
    wait: () => rushes.waitForJob("job_0"),
  };

  for (const [name, call] of Object.entries(calls)) {
    requests = 0;
    const error = await call().catch((cause: unknown) => cause);
    assert(error instanceof ResponseError, name);
    assert.equal(error.retryAfterMs, THIRTY_DAYS_S * 1000);
    assert.equal(requests, 1);
  }
});

test("a job whose deletion was done by a try that got no answer is deleted", async () => {
  let tries = 0;
  const lossy = createServer((request, response) => {
    tries++;
    if (tries === 1) request.socket.destroy();
    else response.writeHead(404, { "content-type": "application/problem+json" }).end("{}");
  });
  await new Promise<void>((listening) => lossy.listen(0, "127.0.0.1", listening));
  const rushes = createClient({ url: `http://127.0.0.1:${(lossy.address() as AddressInfo).port}` });
  try {
    await rushes.jobs.delete("job_0");
    assert.equal(tries, 2);
    await assert.rejects(rushes.jobs.delete("job_0"), ResponseError);
  } finally {
    lossy.close();
  }
});

test("a pause that is longer than any timer is kept", async () => {
  const rushes = createClient({ url, maxOfflineMs: Number.POSITIVE_INFINITY });

  await assert.rejects(rushes.waitForJob("job_0", { timeoutMs: 1_000 }), JobTimeoutError);

  assert(requests <= 1);
});
