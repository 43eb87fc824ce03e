/** Verify webhooks by Standard Webhooks 1.0.0, with WebCrypto. */

import { RushesError } from "../errors.js";
import type { components } from "../schema.js";

/** What a webhook tells; its `type` tells which job `data` is. */
export type WebhookEvent = components["schemas"]["WebhookEvent"];

/** A job at the moment of an event. `omitted` names what was left out to keep the body small. */
export type JobSnapshot = Exclude<WebhookEvent, { type: "webhook.test" }>["data"];

/** As fetch or as Node gives them. */
export type WebhookHeaders = Headers | Record<string, string | string[] | undefined>;

/** The request was not signed with this secret, or at another time; or its body is no JSON. */
export class WebhookVerificationError extends RushesError {
  override name = "WebhookVerificationError";
}

/** The receiver has no secret, or one that is none: it can tell of no webhook whether it is genuine. */
export class WebhookSecretError extends RushesError {
  override name = "WebhookSecretError";
}

const TOLERANCE_SECONDS = 5 * 60;
const MIN_KEY_BYTES = 24; // Standard Webhooks 1.0.0; the service's have 32

/**
 * Return the event of a webhook that was signed with the secret, or with one of several. The body
 * must be as it came: JSON that was parsed and written again has another signature.
 * Throws a WebhookVerificationError, or a WebhookSecretError if a secret is none.
 */
export async function verifyWebhook(
  rawBody: string | Uint8Array | ArrayBuffer,
  headers: WebhookHeaders,
  secret: string | readonly string[],
): Promise<WebhookEvent> {
  const keys = await Promise.all([secret].flat().map(importKey));
  if (keys.length === 0) throw new WebhookSecretError("no webhook secret was given");
  const id = header(headers, "webhook-id");
  const timestamp = header(headers, "webhook-timestamp");
  const signatures = header(headers, "webhook-signature");
  checkTime(timestamp);
  const content = bytesOf(`${id}.${timestamp}.`, rawBody);
  for (const key of keys) {
    for (const signature of signatures.split(" ")) {
      if (await isSignature(key, signature, content)) {
        return parse(rawBody);
      }
    }
  }
  throw new WebhookVerificationError("the webhook was signed with another secret, or was changed");
}

function parse(rawBody: string | Uint8Array | ArrayBuffer): WebhookEvent {
  try {
    return JSON.parse(new TextDecoder().decode(asBytes(rawBody))) as WebhookEvent;
  } catch (cause) {
    throw new WebhookVerificationError("the webhook's body is no JSON", { cause });
  }
}

export function header(headers: WebhookHeaders, name: string): string {
  const value = headers instanceof Headers ? headers.get(name) : headers[name];
  if (typeof value === "string" && value !== "") return value;
  throw new WebhookVerificationError(`the webhook has no single header ${name}`);
}

function checkTime(timestamp: string): void {
  const ageSeconds = Date.now() / 1000 - Number(timestamp);
  if (!/^\d+$/.test(timestamp) || Math.abs(ageSeconds) > TOLERANCE_SECONDS) {
    throw new WebhookVerificationError(
      `the webhook's time ${timestamp} is too far from this clock`,
    );
  }
}

async function importKey(secret: string): Promise<CryptoKey> {
  const bytes = decodeBase64(secret.replace(/^whsec_/, ""));
  if (bytes === null || bytes.length < MIN_KEY_BYTES) {
    const kind = secret === "" ? "is empty" : "is not whsec_ and base64";
    throw new WebhookSecretError(`the webhook secret ${kind}: GET /v1/webhook-secret returns it`);
  }
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  return crypto.subtle.importKey("raw", bytes, algorithm, false, ["verify"]);
}

async function isSignature(
  key: CryptoKey,
  signature: string,
  content: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const [version, text = ""] = signature.split(",");
  const bytes = version === "v1" ? decodeBase64(text) : null;
  return bytes !== null && crypto.subtle.verify("HMAC", key, bytes, content);
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> | null {
  try {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    return null;
  }
}

function bytesOf(start: string, body: string | Uint8Array | ArrayBuffer): Uint8Array<ArrayBuffer> {
  const [head, tail] = [asBytes(start), asBytes(body)];
  const bytes = new Uint8Array(head.length + tail.length);
  bytes.set(head);
  bytes.set(tail, head.length);
  return bytes;
}

function asBytes(body: string | Uint8Array | ArrayBuffer): Uint8Array {
  if (typeof body === "string") return new TextEncoder().encode(body);
  return body instanceof Uint8Array ? body : new Uint8Array(body);
}
