/** The way to one service: its address, its key, and how patiently it is asked. */

import createFetchClient, { type Client as FetchClient } from "openapi-fetch";
import type { Retry, RetryRules } from "./http.js";
import type { paths } from "./schema.js";

export interface ClientOptions {
  /** The service's address: `https://video.example.com`, with or without `/v1`. */
  url: string;
  /** Leave it out where a proxy of yours adds it, as it must for browsers. */
  apiKey?: string | undefined;
  /** Sent with every request. */
  headers?: Record<string, string> | undefined;
  /** Instead of the global `fetch`. */
  fetch?: typeof fetch | undefined;
  /** How often a request is sent again after a lost answer, 429 or 5xx; default: 4. */
  maxRetries?: number | undefined;
  /**
   * How long a wait for a job goes on while the service cannot be reached; default: 5 minutes. Where
   * the service asks for a longer pause (`Retry-After`), its error is thrown at once.
   */
  maxOfflineMs?: number | undefined;
  /** Called before a request is sent again. */
  onRetry?: ((retry: Retry) => void) | undefined;
}

export interface RequestOptions {
  signal?: AbortSignal | undefined;
}

/** For the modules of this package. */
export interface Connection {
  url: string;
  headers: Record<string, string>;
  fetch: typeof fetch;
  /** openapi-fetch, with the types of `clients/openapi.json`. */
  api: FetchClient<paths>;
  /** Rules for a request by itself. */
  rules(options?: RequestOptions): RetryRules;
  /** Rules for a request that a wait for a job sends. */
  patientRules(jobId: string, signal: AbortSignal): RetryRules;
}

const MAX_RETRIES = 4;
const MAX_OFFLINE_MS = 5 * 60_000;

export function connect(options: ClientOptions): Connection {
  const { apiKey, maxRetries = MAX_RETRIES, maxOfflineMs = MAX_OFFLINE_MS, onRetry } = options;
  const url = options.url.replace(/(\/v1)?\/*$/, "");
  const authorization = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` };
  const headers = { ...authorization, ...options.headers };
  // Looked up at each request, so that whoever replaces the global one is heeded; called without
  // a receiver, which browsers insist on.
  const fetcher: typeof fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
  return {
    url,
    headers,
    fetch: fetcher,
    api: createFetchClient<paths>({
      baseUrl: url,
      headers,
      fetch: fetcher,
      querySerializer: QUERIES,
    }),
    rules: ({ signal } = {}) => ({
      isOver: (failures, _sinceMs, delayMs) => failures > maxRetries || delayMs > maxOfflineMs,
      onRetry,
      signal,
    }),
    patientRules: (jobId, signal) => ({
      isOver: (_failures, sinceMs, delayMs) => sinceMs + delayMs > maxOfflineMs,
      onRetry,
      signal,
      jobId,
    }),
  };
}

// Lists as `status=queued,running`, labels as `metadata[scene]=12`.
const QUERIES = {
  array: { style: "form", explode: false },
  object: { style: "deepObject", explode: true },
} as const;
