// The client where there is nothing but what edge runtimes and browsers have: no process, no Buffer.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createContext, runInContext } from "node:vm";
import { build } from "esbuild";

const WEB_GLOBALS = [
  ..."AbortController Blob DOMException FormData Headers ReadableStream Request Response".split(
    " ",
  ),
  ..."TextDecoder TextEncoder URL URLSearchParams atob clearTimeout crypto fetch".split(" "),
  ..."performance setTimeout".split(" "),
] as const;

async function bundle(entry: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [new URL(entry, import.meta.url).pathname],
    bundle: true,
    format: "iife",
    globalName: "bundled",
    platform: "browser",
    write: false,
    logLevel: "silent",
  });
  return outputFiles[0]?.text ?? "";
}

function runOnEdge(code: string): unknown {
  const globals = Object.fromEntries(
    WEB_GLOBALS.map((name) => [name, Reflect.get(globalThis, name)]),
  );
  const { RUSHES_URL: url, RUSHES_API_KEY: apiKey } = process.env;
  return runInContext(code, createContext({ ...globals, url, apiKey }));
}

test("a video is made where there is no Node", async () => {
  const program = `${await bundle("../src/index.ts")};
    const rushes = bundled.createClient({ url, apiKey });
    const asked = { prompt: "a red ball", width: 64, height: 64, num_frames: 4 };
    const result = (handle) => handle.result({ onProgress: () => {} });
    rushes.generateVideo({ ...asked, image: undefined }).then(result).then((job) => job.status)`;

  assert.equal(await runOnEdge(program), "succeeded");
});

test("webhooks are verified where there is no Node", async () => {
  const program = `${await bundle("../src/webhooks/index.ts")};
    const handle = bundled.toFetch({ secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLjSw", onEvent() {} });
    handle(new Request("https://example.com/", { method: "POST" })).then(({ status }) => status)`;

  assert.equal(await runOnEdge(program), 401);
});

test("what needs files cannot get into a browser's bundle", async () => {
  await assert.rejects(bundle("../src/node/index.ts"), /Could not resolve "node:/);
});
