/**
 * `server.ts FOLDER`: receive webhooks on PORT, and render each film to FOLDER once its clips are there.
 *
 * A film is written down before the webhook is answered, and crossed out when its MP4 is there: this
 * process may die at any moment, and goes on where it was.
 */

import { fork } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createClient } from "rushes/node";
import { toExpress, type WebhookEvent } from "rushes/webhooks";

const [folder = "."] = process.argv.slice(2);
const due = join(folder, "due");
await mkdir(due, { recursive: true });

if (!process.env.RUSHES_API_KEY) {
  console.error("set RUSHES_API_KEY to a key of the service");
  process.exit(1);
}
const { data: secret, error } = await createClient().api.GET("/v1/webhook-secret");
if (secret === undefined) throw new Error(`no webhook secret: ${error.detail}`);

const handle = toExpress({ secret: secret.secret, onEvent });
const server = createServer((request, response) => {
  handle(request, response, (error) => {
    console.error(error);
    response.writeHead(500).end(); // the service sends it again
  });
});
server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () => {
  console.log(`listening on ${(server.address() as AddressInfo).port}`);
  void renderAll();
});

async function onEvent(event: WebhookEvent): Promise<void> {
  if (event.type !== "job.succeeded") return;
  const film = event.data.metadata?.film;
  if (film === undefined || !/^[\w-]+$/.test(film)) return;
  // An event that comes again, or after its film, changes nothing.
  await writeFile(join(due, film), "", { flush: true });
  failed.delete(film);
  console.log(`due ${film}`);
  void renderAll();
}

let isRendering = false;
const failed = new Set<string>(); // tried again at their next webhook, or after a restart

async function renderAll(): Promise<void> {
  if (isRendering) return;
  isRendering = true;
  for (;;) {
    const film = (await readdir(due)).find((name) => !failed.has(name));
    if (film === undefined) break;
    const isDone = existsSync(join(folder, `${film}.mp4`)) || (await render(film));
    if (isDone) await rm(join(due, film));
    else failed.add(film);
  }
  isRendering = false;
}

/** Render in a process of its own, which ends with this one. */
async function render(film: string): Promise<boolean> {
  const child = fork(join(import.meta.dirname, "render.ts"), [film, folder]);
  return new Promise((resolve) => child.on("exit", (code) => resolve(code === 0)));
}
