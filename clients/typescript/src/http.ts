/** Requests that are tried again, and limits on how long one may take. */

import { ConnectionError, ResponseError, RushesError } from "./errors.js";
import type { Problem } from "./types.js";

/** A request that will be sent again. */
export interface Retry {
  error: ConnectionError | ResponseError;
  delayMs: number;
}

export interface RetryRules {
  /**
   * Whether to give up after so many failures in a row, the first of them so long ago, rather than to
   * try again after the delay.
   */
  isOver(failures: number, sinceMs: number, delayMs: number): boolean;
  onRetry?: ((retry: Retry) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Of one try. */
  timeoutMs?: number | undefined;
  /** Put into a ConnectionError. */
  jobId?: string | undefined;
  idempotencyKey?: string | undefined;
}

/** An answer as openapi-fetch gives it. */
export interface Answer<Data> {
  data?: Data | undefined;
  error?: unknown;
  response: Response;
}

export interface Success<Data> {
  data: Data;
  response: Response;
}

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 8_000;
const REQUEST_TIMEOUT_MS = 30_000;
// Timers fire at once for longer ones.
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Send a request until it is answered, and return the answer.
 * Throws a ResponseError, a ConnectionError, or the reason of `signal`.
 */
export async function send<Data>(
  request: (signal: AbortSignal) => Promise<Answer<Data>>,
  rules: RetryRules,
): Promise<Success<Data>> {
  const begin = performance.now();
  for (let failures = 1; ; failures++) {
    const outcome = await attempt(request, rules);
    if (!(outcome instanceof RushesError)) return outcome;
    const isRetryable = outcome instanceof ConnectionError || outcome.retryable;
    const delayMs = backoff(failures, outcome);
    const sinceMs = performance.now() - begin;
    if (!isRetryable || rules.isOver(failures, sinceMs, delayMs)) throw outcome;
    rules.onRetry?.({ error: outcome, delayMs });
    await sleep(delayMs, rules.signal);
  }
}

async function attempt<Data>(
  request: (signal: AbortSignal) => Promise<Answer<Data>>,
  rules: RetryRules,
): Promise<Success<Data> | ConnectionError | ResponseError> {
  try {
    const timeoutMs = rules.timeoutMs ?? REQUEST_TIMEOUT_MS;
    const { data, error, response } = await within(timeoutMs, rules.signal, request);
    if (data !== undefined) return { data, response };
    if (response.ok) throw new SyntaxError("the answer is empty");
    return new ResponseError(response.status, asProblem(error), retryAfter(response));
  } catch (cause) {
    rules.signal?.throwIfAborted();
    const { jobId, idempotencyKey } = rules;
    // A proxy's page, or an answer that was cut off.
    const fault = cause instanceof SyntaxError ? "the answer is not JSON" : "no answer";
    return new ConnectionError(`${fault}: ${reason(cause)}`, { cause, jobId, idempotencyKey });
  }
}

/** Run with a signal that is aborted after `ms`, or when `signal` is. */
export async function within<T>(
  ms: number,
  signal: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const controller = new AbortController();
  const abort = () => controller.abort(signal?.reason);
  const expire = () => controller.abort(new DOMException(`no answer in ${ms} ms`, "TimeoutError"));
  signal?.addEventListener("abort", abort, { once: true });
  const timer = ms <= MAX_TIMER_MS ? setTimeout(expire, ms) : undefined;
  try {
    return await run(controller.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** A signal that is aborted when `feed` is not called for `ms`, or when `signal` is. */
export function watchdog(signal: AbortSignal | undefined, ms: number) {
  const controller = new AbortController();
  const abort = () => controller.abort(signal?.reason);
  const bark = () =>
    controller.abort(new DOMException(`nothing came for ${ms} ms`, "TimeoutError"));
  signal?.addEventListener("abort", abort, { once: true });
  let timer = setTimeout(bark, ms);
  return {
    signal: controller.signal,
    feed() {
      clearTimeout(timer);
      timer = setTimeout(bark, ms);
    },
    stop() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    },
  };
}

/** Wait, for at most 24 days. Throws the reason of `signal` if that is aborted meanwhile. */
export async function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(
      () => {
        signal?.removeEventListener("abort", abort);
        resolve();
      },
      Math.min(ms, MAX_TIMER_MS),
    );
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** A pause that doubles with each failure, with jitter; never shorter than the service asks for. */
export function backoff(failures: number, error: RushesError | null): number {
  const retryAfterMs = error instanceof ResponseError ? error.retryAfterMs : null;
  const delayMs = Math.min(FIRST_DELAY_MS * 2 ** (failures - 1), MAX_DELAY_MS);
  return Math.max(delayMs * (0.5 + Math.random() / 2), jitter(retryAfterMs ?? 0));
}

/** The pause or up to a fifth more, so that not all who were sent away come back at once. */
export function jitter(ms: number): number {
  return ms * (1 + Math.random() / 5);
}

/** `Retry-After` in milliseconds: seconds or a date. */
export function retryAfter(response: Response): number | null {
  const text = response.headers.get("retry-after");
  if (text === null) return null;
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isNaN(ms) ? null : Math.max(0, ms);
}

export function asProblem(body: unknown): Problem | null {
  const isProblem =
    typeof body === "object" &&
    body !== null &&
    "code" in body &&
    "detail" in body &&
    "errors" in body;
  return isProblem ? (body as Problem) : null;
}

export function reason(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  // fetch says no more than "fetch failed"; why is in its cause.
  const inner = cause.cause instanceof Error ? cause.cause.message : "";
  return inner || cause.message;
}
