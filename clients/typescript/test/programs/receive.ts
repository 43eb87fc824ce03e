// Receives webhooks: `receive.ts express|hono|next|fetch|node SECRET LOG`. Prints its port, and writes a
// line of JSON for each event that it handles. The first time that it sees a job it fails.
import { appendFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import express from "express";
import { Hono } from "hono";
import {
  toExpress,
  toFetch,
  toHono,
  toNext,
  type WebhookEvent,
  type WebhookOptions,
} from "../../src/webhooks/index.js";

const [kind = "", secret = "", log = ""] = process.argv.slice(2);

const seen = new Set<string>();
const options: WebhookOptions = { secret, onEvent, handled: new Set() };

async function onEvent(event: WebhookEvent, webhookId: string): Promise<void> {
  if (!seen.has(event.data.id)) {
    seen.add(event.data.id);
    throw new Error("not ready yet");
  }
  const sha256 = event.type === "job.succeeded" ? event.data.result.sha256 : null;
  const line = { type: event.type, id: event.data.id, webhookId, sha256 };
  await appendFile(log, `${JSON.stringify(line)}\n`);
}

/** A server for functions of a Request, as Next, Bun, Deno and others are. */
function serverOf(handle: (request: Request) => Response | Promise<Response>): Server {
  return createServer(async (incoming, outgoing) => {
    const response = await Promise.resolve(asRequest(incoming))
      .then(handle)
      .catch(() => new Response(null, { status: 500 }));
    outgoing.writeHead(response.status).end(await response.text());
  });
}

function asRequest(incoming: IncomingMessage): Request {
  const { method = "GET", headers } = incoming;
  const init = { method, headers: headers as HeadersInit, duplex: "half" };
  return new Request("http://127.0.0.1/hooks", { ...init, body: incoming as unknown as BodyInit });
}

function serverFor(kind: string): Server {
  switch (kind) {
    case "express":
      return createServer(express().post("/hooks", toExpress(options)));
    case "express.raw":
      return createServer(
        express()
          .use(express.raw({ type: "*/*" }))
          .post("/hooks", toExpress(options)),
      );
    case "node": {
      const handle = toExpress(options);
      const listener: RequestListener = (request, response) => {
        handle(request, response, () => response.writeHead(500).end());
      };
      return createServer(listener);
    }
    case "hono": {
      const app = new Hono().post("/hooks", toHono(options));
      return serverOf((request) => app.fetch(request));
    }
    case "next":
      return serverOf(toNext(options).POST);
    default:
      return serverOf(toFetch(options));
  }
}

const server = serverFor(kind);
server.listen(0, "127.0.0.1", () => {
  console.log((server.address() as AddressInfo).port);
});
