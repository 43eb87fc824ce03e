/** Rushes from Node: all of `rushes`, with the settings of the environment, and files. */

import { type Client, clientOf } from "../client.js";
import { type ClientOptions, connect } from "../connection.js";
import type { SucceededJob } from "../types.js";
import { type DownloadOptions, download } from "./download.js";

export * from "../index.js";
export { type DownloadOptions, sha256Of } from "./download.js";
export { openFile } from "./files.js";

export interface NodeClient extends Client {
  /**
   * Save a file of a finished job, and return its path. It appears whole and, if it is the video,
   * with its SHA-256 verified; what an earlier try left in `<path>.part` is not fetched again. A path
   * takes one download at a time; while it has one, another throws a RushesError.
   */
  download(job: string | SucceededJob, path: string, options?: DownloadOptions): Promise<string>;
}

/** `url` and `apiKey` default to `RUSHES_URL`, else this machine's service, and `RUSHES_API_KEY`. */
export function createClient(options: Partial<ClientOptions> = {}): NodeClient {
  const { RUSHES_URL, RUSHES_API_KEY } = process.env;
  const connection = connect({
    ...options,
    url: options.url ?? (RUSHES_URL || "http://127.0.0.1:8787"),
    apiKey: options.apiKey ?? (RUSHES_API_KEY || undefined),
  });
  return {
    ...clientOf(connection),
    download: (job, path, opts) => download(connection, job, path, opts),
  };
}
