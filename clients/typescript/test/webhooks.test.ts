// The receivers of webhooks, as a function of requests that are signed here.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { EventEmitter, once } from "node:events";
import { test } from "node:test";
import {
  toFetch,
  verifyWebhook,
  WebhookSecretError,
  WebhookVerificationError,
} from "../src/webhooks/index.js";

const KEY = Buffer.from("a secret of thirty-two characters");
const secret = `whsec_${KEY.toString("base64")}`;
const BODY = JSON.stringify({ type: "job.started", timestamp: "", data: { id: "job_1" } });

/** The headers of a webhook that is signed at a time, seconds from now. */
function signed(body: string, secondsFromNow = 0): Record<string, string> {
  const timestamp = String(Math.floor(Date.now() / 1000) + secondsFromNow);
  const signature = createHmac("sha256", KEY).update(`dlv_1.${timestamp}.${body}`).digest("base64");
  return {
    "webhook-id": "dlv_1",
    "webhook-timestamp": timestamp,
    "webhook-signature": `v1,${signature}`,
  };
}

function request(body: string | ReadableStream, headers: Record<string, string>): Request {
  const init = { method: "POST", body, headers, duplex: "half" };
  return new Request("https://example.com/hooks", init);
}

test("a webhook of another time, past or future, is refused", async () => {
  await verifyWebhook(BODY, signed(BODY, -200), secret);
  await verifyWebhook(BODY, signed(BODY, 200), secret);

  for (const seconds of [-400, 400]) {
    const verified = verifyWebhook(BODY, signed(BODY, seconds), secret);
    await assert.rejects(verified, WebhookVerificationError, String(seconds));
  }
});

test("a body that is signed but no JSON is refused", async () => {
  await assert.rejects(verifyWebhook("{", signed("{"), secret), WebhookVerificationError);
});

test("an event is narrowed by its type, and may lack its input", async () => {
  const data = { result: { sha256: "ab" }, input: null, omitted: ["input"] };
  const body = JSON.stringify({ type: "job.succeeded", timestamp: "", data });

  const event = await verifyWebhook(body, signed(body), secret);

  assert(event.type === "job.succeeded");
  assert.equal(event.data.result.sha256, "ab");
  assert.deepEqual(event.data.omitted, ["input"]);
  // @ts-expect-error: it is null where it would make the body too large
  assert.throws(() => event.data.input.prompt, TypeError);
});

test("without a secret that can be one, nothing is called genuine or forged", async () => {
  const forged = createHmac("sha256", "").update(`dlv_1.0.${BODY}`).digest("base64");
  const headers = { ...signed(BODY), "webhook-signature": `v1,${forged}` };
  for (const wrong of ["", "whsec_", "whsec_?", "whsec_c2hvcnQ=", [], [secret, ""]]) {
    const receive = toFetch({ secret: wrong, onEvent() {} });

    await assert.rejects(verifyWebhook(BODY, signed(BODY), wrong), WebhookSecretError);
    await assert.rejects(receive(request(BODY, headers)), WebhookSecretError);
    await assert.rejects(verifyWebhook(BODY, {}, wrong), WebhookSecretError);
  }
  await assert.rejects(verifyWebhook(BODY, {}, ""), /is empty: GET \/v1\/webhook-secret/);
});

/** Send a webhook, and again while it is being handled, which ends with the error or well. */
async function sendTwiceAtOnce(error?: Error) {
  const steps = new EventEmitter();
  let calls = 0;
  const onEvent = async () => {
    if (++calls > 1) return;
    const isReleased = once(steps, "release");
    steps.emit("call");
    await isReleased;
    if (error) throw error;
  };
  const handle = toFetch({ secret, handled: new Set(), onEvent });
  const send = () => handle(request(BODY, signed(BODY)));

  const isCalled = once(steps, "call");
  const first = send();
  await isCalled;
  const second = send();
  // Once later ones are answered, it has got as far as it can.
  for (let n = 0; n < 10; n++) await handle(request("forged", signed(BODY)));
  steps.emit("release");
  return { answers: await Promise.allSettled([first, second]), send, calls: () => calls };
}

test("a webhook that comes twice at once is handled once, and answered the same", async () => {
  const { answers, send, calls } = await sendTwiceAtOnce();

  const statuses = answers.map((answer) => answer.status === "fulfilled" && answer.value.status);
  assert.deepEqual(statuses, [204, 204]);
  assert.equal((await send()).status, 204);
  assert.equal(calls(), 1);
});

test("what fails while it comes twice fails for both, and is handled when it comes again", async () => {
  const { answers, send, calls } = await sendTwiceAtOnce(new Error("not ready yet"));

  const statuses = answers.map(({ status }) => status);
  assert.deepEqual(statuses, ["rejected", "rejected"]);
  assert.equal(calls(), 1);
  assert.equal((await send()).status, 204);
  assert.equal(calls(), 2);
});

test("of a body without a length no more is read than a webhook may have", async () => {
  let sent = 0;
  const large = new ReadableStream({
    pull(controller) {
      controller.enqueue(new Uint8Array(100_000));
      sent += 100_000;
      if (sent >= 5_000_000) controller.close();
    },
  });
  const handle = toFetch({ secret, onEvent() {} });

  assert.equal((await handle(request(large, signed(BODY)))).status, 413);
  assert(sent < 2_000_000, String(sent));
});
