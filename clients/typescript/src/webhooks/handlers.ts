/** Receivers of webhooks for fetch handlers, Next, Hono, and Express or Node's own server. */

import type { WebhookEvent, WebhookHeaders } from "./verify.js";
import { header, verifyWebhook, WebhookVerificationError } from "./verify.js";

/** Remembers the webhooks that were handled; a `Set` does, as long as the process lives. */
export interface HandledWebhooks {
  has(webhookId: string): boolean | Promise<boolean>;
  add(webhookId: string): unknown;
}

export interface WebhookOptions {
  /** `whsec_…`, or several of them. */
  secret: string | readonly string[];
  /**
   * Called with every event that is genuine and not handled yet. Once it returns, the service is
   * answered 204; if it throws, the service sends the event again later. It has 15 s: what takes
   * longer is written down here and done elsewhere.
   */
  onEvent(event: WebhookEvent, webhookId: string): void | Promise<void>;
  /**
   * An event may come more than once, with the same id. Ids are added when `onEvent` has returned, so
   * that none is forgotten. What comes again meanwhile waits for that; in another process, it may
   * still be handled twice.
   */
  handled?: HandledWebhooks | undefined;
}

interface Reply {
  status: number;
  text: string | null;
}

const MAX_BODY_BYTES = 1_000_000; // the service sends at most 20,000

type Receive = (rawBody: string | Uint8Array, headers: WebhookHeaders) => Promise<Reply>;

function receiver({ secret, onEvent, handled }: WebhookOptions): Receive {
  const inFlight = new Map<string, Promise<void>>();

  async function handle(event: WebhookEvent, id: string): Promise<void> {
    try {
      if (await handled?.has(id)) return;
      await onEvent(event, id);
      await handled?.add(id);
    } finally {
      inFlight.delete(id);
    }
  }

  return async (rawBody, headers) => {
    let event: WebhookEvent;
    try {
      event = await verifyWebhook(rawBody, headers, secret);
    } catch (error) {
      if (!(error instanceof WebhookVerificationError)) throw error;
      return { status: 401, text: error.message };
    }
    const id = header(headers, "webhook-id");
    const handling = inFlight.get(id) ?? handle(event, id);
    inFlight.set(id, handling);
    await handling;
    return { status: 204, text: null };
  };
}

/** For every server that calls a function with a Request: Deno, Bun, Workers, SvelteKit, … */
export function toFetch(options: WebhookOptions): (request: Request) => Promise<Response> {
  const receive = receiver(options);
  return async (request) => {
    const isTooLarge = Number(request.headers.get("content-length") ?? 0) > MAX_BODY_BYTES;
    const body = isTooLarge ? null : await wholeOf(chunksOf(request));
    const { status, text } = body === null ? TOO_LARGE : await receive(body, request.headers);
    return new Response(text, { status });
  };
}

/** For a Next route handler: `export const { POST } = toNext({ … })`. */
export function toNext(options: WebhookOptions): { POST: (request: Request) => Promise<Response> } {
  return { POST: toFetch(options) };
}

/** For Hono: `app.post("/hooks", toHono({ … }))`. */
export function toHono(
  options: WebhookOptions,
): (context: { req: { raw: Request } }) => Promise<Response> {
  const handle = toFetch(options);
  return (context) => handle(context.req.raw);
}

/** What is used of a request of Express or Node. */
export interface NodeRequest extends AsyncIterable<Uint8Array> {
  headers: Record<string, string | string[] | undefined>;
  body?: unknown;
}

/** What is used of their response. */
export interface NodeResponse {
  statusCode: number;
  end(text?: string): unknown;
}

/**
 * For Express, `app.post("/hooks", toExpress({ … }))`, and for `node:http`. It reads the body itself,
 * or takes that of `express.raw()`; the route must not come after `express.json()`.
 */
export function toExpress(
  options: WebhookOptions,
): (
  request: NodeRequest,
  response: NodeResponse,
  next?: (error: unknown) => void,
) => Promise<void> {
  const receive = receiver(options);
  return async (request, response, next) => {
    try {
      const body = await rawBodyOf(request);
      const reply = body === null ? TOO_LARGE : await receive(body, request.headers);
      response.statusCode = reply.status;
      response.end(reply.text ?? undefined);
    } catch (error) {
      if (next === undefined) throw error;
      next(error);
    }
  };
}

const TOO_LARGE: Reply = { status: 413, text: "no webhook is so large" };

async function rawBodyOf(request: NodeRequest): Promise<Uint8Array | null> {
  if (request.body instanceof Uint8Array) return request.body;
  if (request.body !== undefined) {
    throw new TypeError("the body was parsed already: mount the webhook before express.json()");
  }
  return wholeOf(request);
}

/** The chunks of a body; not all that have streams can iterate over them. */
async function* chunksOf(request: Request): AsyncGenerator<Uint8Array> {
  if (request.body === null) return;
  const reader = request.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Null if they are too large. */
async function wholeOf(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array | null> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of chunks) {
    size += part.length;
    if (size > MAX_BODY_BYTES) return null;
    parts.push(part);
  }
  const body = new Uint8Array(size);
  let offset = 0;
  for (const part of parts) {
    body.set(part, offset);
    offset += part.length;
  }
  return body;
}
