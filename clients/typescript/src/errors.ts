/** Errors. Each that concerns a job has its id, so that no job that costs something is lost. */

import type {
  CanceledJob,
  ExpiredJob,
  FailedJob,
  FieldProblem,
  FinalJob,
  Job,
  Problem,
} from "./types.js";

/** The base of all errors of this package. */
export class RushesError extends Error {
  override name = "RushesError";
}

/** The service, or a proxy before it, answered with an error. */
export class ResponseError extends RushesError {
  override name = "ResponseError";
  readonly status: number;
  /** Null if something else than the service answered. */
  readonly problem: Problem | null;
  /** From `Retry-After`. */
  readonly retryAfterMs: number | null;

  constructor(status: number, problem: Problem | null, retryAfterMs: number | null = null) {
    super(problem ? describe(problem) : `the server answered ${status} without a problem document`);
    this.status = status;
    this.problem = problem;
    this.retryAfterMs = retryAfterMs;
  }

  /** Stable, and for programs: `queue_full`, for example. */
  get code(): Problem["code"] | null {
    return this.problem?.code ?? null;
  }

  /** The fields that were refused; each `detail` names the nearest valid value where there is one. */
  get fields(): FieldProblem[] {
    return this.problem?.errors ?? [];
  }

  get requestId(): string | null {
    return this.problem?.request_id ?? null;
  }

  /** The same request may succeed later. */
  get retryable(): boolean {
    return this.problem?.retryable ?? RETRYABLE.has(this.status);
  }
}

const RETRYABLE: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

function describe(problem: Problem): string {
  const fields = problem.errors.map(({ pointer, detail }) => {
    const names = [`${pointer.split("/").at(-1)}: `, `${pointer} `];
    const name = names.find((start) => detail.startsWith(start)) ?? "";
    return pointer === "" ? detail : `${pointer}: ${detail.slice(name.length)}`;
  });
  return `${fields.length > 0 ? fields.join("; ") : problem.detail} (${problem.code})`;
}

/** No answer, or only a part of one, however often it was tried; `cause` has the reason. */
export class ConnectionError extends RushesError {
  override name = "ConnectionError";
  /** The job that was waited for. */
  readonly jobId: string | null;
  /** Of a submit: sent again with it, the request creates no second job. */
  readonly idempotencyKey: string | null;

  constructor(
    message: string,
    options: ErrorOptions & {
      jobId?: string | undefined;
      idempotencyKey?: string | undefined;
    } = {},
  ) {
    super(message, options);
    this.jobId = options.jobId ?? null;
    this.idempotencyKey = options.idempotencyKey ?? null;
  }
}

/** The base of errors of jobs that ended without a video. */
abstract class JobEndError<Ended extends FinalJob> extends RushesError {
  readonly job: Ended;

  constructor(job: Ended, message: string) {
    super(message);
    this.job = job;
  }

  get jobId(): string {
    return this.job.id;
  }
}

/** The job failed; `job.error` says why. */
export class JobFailedError extends JobEndError<FailedJob> {
  override name = "JobFailedError";

  constructor(job: FailedJob) {
    super(job, `job ${job.id} failed: ${job.error.message} (${job.error.code})`);
  }
}

/** The job was canceled. */
export class JobCanceledError extends JobEndError<CanceledJob> {
  override name = "JobCanceledError";

  constructor(job: CanceledJob) {
    super(job, `job ${job.id} was canceled`);
  }
}

/** No worker began the job within its `start_timeout_seconds`. */
export class JobExpiredError extends JobEndError<ExpiredJob> {
  override name = "JobExpiredError";

  constructor(job: ExpiredJob) {
    super(job, `job ${job.id} expired: no worker began it in time`);
  }
}

/** `timeoutMs` is over. The job goes on: `waitForJob(error.jobId)` waits for it again. */
export class JobTimeoutError extends RushesError {
  override name = "JobTimeoutError";
  readonly jobId: string;
  /** As it was seen last. */
  readonly job: Job | null;

  constructor(jobId: string, timeoutMs: number, job: Job | null) {
    const state = job === null ? "not seen yet" : `${job.status}, ${job.progress} %`;
    super(`job ${jobId} is not final after ${timeoutMs} ms (${state}); it goes on`);
    this.jobId = jobId;
    this.job = job;
  }
}
