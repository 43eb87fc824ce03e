// The parser of server-sent events, on streams that are cut into pieces anywhere.
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseEvents, type ServerEvent } from "../src/events.js";

function streamOf(chunks: Uint8Array[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}

async function parse(chunks: Uint8Array[]): Promise<ServerEvent[]> {
  const events: ServerEvent[] = [];
  for await (const event of parseEvents(streamOf(chunks))) events.push(event);
  return events;
}

const TEXT = [
  "retry: 1000\n\n",
  ": ping\n\n",
  "id: 57\nevent: job.started\ndata: über\n\n",
  "event: job.progress\ndata:  two\ndata:lines\n\n",
  "id: 60\n\n",
  "data\n\n",
  "event: without data\n\n",
  "id: 61\nevent: job.succeeded\ndata: cut off",
].join("");
const nothing = { event: "message", data: "" };
const EVENTS: ServerEvent[] = [
  { id: "", ...nothing },
  { id: "", ...nothing },
  { id: "57", event: "job.started", data: "über" },
  { id: "57", event: "job.progress", data: " two\nlines" },
  { id: "60", ...nothing },
  { id: "60", ...nothing },
  { id: "60", event: "without data", data: "" },
];

for (const [name, end] of [
  ["LF", "\n"],
  ["CR LF", "\r\n"],
  ["CR", "\r"],
] as const) {
  test(`lines that end with ${name} are found wherever the stream is cut`, async () => {
    const bytes = new TextEncoder().encode(TEXT.replaceAll("\n", end));
    for (let size = 1; size <= bytes.length; size++) {
      const chunks: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));

      assert.deepEqual(await parse(chunks), EVENTS, `in pieces of ${size} bytes`);
    }
  });
}
