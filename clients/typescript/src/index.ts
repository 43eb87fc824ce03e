/** Rushes from TypeScript: Node, edge runtimes and browsers. Files are in `rushes/node`. */

export { type Client, createClient } from "./client.js";
export type { ClientOptions, RequestOptions } from "./connection.js";
export * from "./errors.js";
export type { Retry } from "./http.js";
export type { Jobs } from "./jobs.js";
export type { components, paths } from "./schema.js";
export type { JobHandle, SubmitOptions } from "./submit.js";
export * from "./types.js";
export type { WaitOptions } from "./wait.js";
