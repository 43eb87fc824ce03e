/** Submit a request for a job, once: every try of a call has the same Idempotency-Key. */

import type { Connection, RequestOptions } from "./connection.js";
import { type Answer, send } from "./http.js";
import type { components } from "./schema.js";
import type { Job, SucceededJob } from "./types.js";
import { bodyOf } from "./uploads.js";
import { type WaitOptions, waitForJob } from "./wait.js";

export interface SubmitOptions extends RequestOptions {
  /**
   * Submits with the same key create one job, for 24 hours. Default: a new one for each call, which
   * its own retries share.
   */
  idempotencyKey?: string | undefined;
}

/** A job that was accepted: it is durable, whatever happens to this process. */
export interface JobHandle {
  /** Keep it: `waitForJob(id)` resumes the wait, in another process as well. */
  readonly id: string;
  /** As it was when it was accepted. */
  readonly job: Job;
  /**
   * Return the job once it has succeeded. Throws a JobFailedError, JobCanceledError, JobExpiredError
   * or JobTimeoutError, or a ConnectionError if the service is away for too long.
   */
  result(options?: WaitOptions): Promise<SucceededJob>;
  /** Ask the job's worker to stop; a final job is returned unchanged. */
  cancel(options?: RequestOptions): Promise<Job>;
}

type Schemas = components["schemas"];
type Accepted = Job | Schemas["InlineVideo"] | Schemas["InlineAvatar"];

/** What each try sends besides the body. */
interface Headers {
  params: { header: { "Idempotency-Key": string } };
  signal: AbortSignal;
}

const SUBMIT_TIMEOUT_MS = 10 * 60_000; // uploads may be large

export async function submit(
  connection: Connection,
  post: (headers: Headers) => Promise<Answer<Accepted>>,
  options: SubmitOptions = {},
): Promise<JobHandle> {
  const idempotencyKey = options.idempotencyKey ?? crypto.randomUUID();
  const params = { header: { "Idempotency-Key": idempotencyKey } };
  const { data } = await send((signal) => post({ params, signal }), {
    ...connection.rules(options),
    timeoutMs: SUBMIT_TIMEOUT_MS,
    idempotencyKey,
  });
  if (!("status" in data)) throw new TypeError("the video itself was not asked for");
  return handleOf(connection, data);
}

function handleOf(connection: Connection, job: Job): JobHandle {
  return {
    id: job.id,
    job,
    result: (options) => waitForJob(connection, job.id, options),
    cancel: (options) => cancel(connection, job.id, options),
  };
}

export async function cancel(
  { api, rules }: Connection,
  jobId: string,
  options?: RequestOptions,
): Promise<Job> {
  const params = { path: { job_id: jobId } };
  const { data } = await send(
    (signal) => api.POST("/v1/jobs/{job_id}/cancel", { params, signal }),
    rules(options),
  );
  return data;
}

/** A request as openapi-fetch takes it. The generated `Body` knows media as texts alone. */
export function serialized<Name extends keyof Schemas>(
  request: object,
): {
  body: Schemas[Name];
  bodySerializer: () => string | FormData;
} {
  return { body: request as Schemas[Name], bodySerializer: () => bodyOf(request) };
}
