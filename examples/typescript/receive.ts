/**
 * Receive webhooks, each once: `npx tsx receive.ts INBOX`, on PORT (8000).
 *
 * RUSHES_WEBHOOK_SECRET is what `GET /v1/webhook-secret` of the service returns.
 */

import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { toExpress } from "rushes/webhooks";

const secret = process.env.RUSHES_WEBHOOK_SECRET;
if (!secret) {
  console.error("set RUSHES_WEBHOOK_SECRET to what GET /v1/webhook-secret returns: whsec_…");
  process.exit(1);
}
const [inbox = "inbox"] = process.argv.slice(2);
await mkdir(inbox, { recursive: true });
const pathOf = (webhookId: string) => join(inbox, `${webhookId}.json`);

const handle = toExpress({
  secret,
  // The files are there after a restart too.
  handled: { has: (id) => existsSync(pathOf(id)), add: () => undefined },
  async onEvent(event, webhookId) {
    await writeFile(pathOf(webhookId), JSON.stringify(event), { flush: true });
    console.log(event.type, event.data.id); // or start what comes next
  },
});

const server = createServer((request, response) => {
  handle(request, response, (error) => {
    console.error(error);
    response.writeHead(500).end(); // the service sends it again
  });
});
server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () => {
  console.log("listening on", (server.address() as AddressInfo).port);
});
