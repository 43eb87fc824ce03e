/** Server-sent events, as they come over the wire. */

export interface ServerEvent {
  /** The last one that came, empty before the first. */
  id: string;
  event: string;
  data: string;
}

/**
 * Parse a stream by the WHATWG's rules, but for this: a block that has no data, as one that only moves
 * the position or is a comment, is an event without data. `onBytes` is called for every chunk.
 */
export async function* parseEvents(
  body: ReadableStream<Uint8Array>,
  onBytes: () => void = () => {},
): AsyncGenerator<ServerEvent> {
  let event: ServerEvent = { id: "", event: "message", data: "" };
  for await (const line of lines(body, onBytes)) {
    if (line === "") {
      yield { ...event, data: event.data.slice(0, -1) };
      event = { id: event.id, event: "message", data: "" };
      continue;
    }
    const [name, value] = field(line);
    if (name === "id") event.id = value;
    else if (name === "event") event.event = value;
    else if (name === "data") event.data += `${value}\n`;
  }
}

function field(line: string): [name: string, value: string] {
  const colon = line.indexOf(":");
  if (colon < 0) return [line, ""];
  const value = line.slice(colon + 1);
  return [line.slice(0, colon), value.startsWith(" ") ? value.slice(1) : value];
}

/** Split into lines, which end with CR, LF or both; what follows the last end is not whole. */
async function* lines(
  body: ReadableStream<Uint8Array>,
  onBytes: () => void,
): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes();
      rest += decoder.decode(value, { stream: true });
      // A CR at the end may be half of a CR LF: it waits for what follows.
      const parts = rest.split(/\r\n|\n|\r(?!$)/);
      rest = parts.pop() ?? "";
      yield* parts;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
