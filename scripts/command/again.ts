/** Commands that go on where one has ended. */

import { ConnectionError, ResponseError } from "../../clients/typescript/src/node/index.js";
import type { Flags } from "./flags.js";

const COMMAND = ["npx", "tsx", "scripts/generate-video-modal.ts"];

/** Wait for a job, and save it as the command would have done. */
export function resume(jobId: string, { output, force, json, url, key }: Flags): string {
  return quoted([
    ...COMMAND,
    ...["--job", jobId],
    ...(output === undefined ? [] : ["-o", output]),
    ...(force ? ["--force"] : []),
    ...(json ? ["--json"] : []),
    ...(url === undefined ? [] : ["--url", url]),
    ...(key === undefined ? [] : ["--key", "KEY"]),
  ]);
}

/** The command itself, under the Idempotency-Key of its request; the API key is not shown. */
export function repeat(words: string[], idempotencyKey: string, flags: Flags): string {
  const { key, "idempotency-key": own } = flags;
  const shown = key ? words.map((word) => word.replaceAll(key, "KEY")) : words;
  return quoted([
    ...COMMAND,
    ...(own === undefined ? ["--idempotency-key", idempotencyKey] : []),
    ...shown,
  ]);
}

function quoted(words: string[]): string {
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`))
    .join(" ");
}

/** Whether the service may have heard a request that ended so. */
export function mayHaveArrived(error: unknown): boolean {
  if (error instanceof ResponseError) return error.status >= 500;
  if (!(error instanceof ConnectionError)) return false;
  // fetch says why in the cause of its error.
  const { cause } = error.cause instanceof Error ? error.cause : {};
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  return code !== "ECONNREFUSED" && code !== "ENOTFOUND";
}
