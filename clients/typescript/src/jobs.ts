/** Jobs that exist: get, list, cancel, retry, delete. */

import type { Connection, RequestOptions } from "./connection.js";
import { ResponseError } from "./errors.js";
import { send } from "./http.js";
import { cancel, type JobHandle, type SubmitOptions, serialized, submit } from "./submit.js";
import type { Job, JobQuery, RetryChanges } from "./types.js";

export interface Jobs {
  get(jobId: string, options?: RequestOptions): Promise<Job>;
  /** All jobs that the query keeps, the newest first, page after page of `limit`. */
  list(query?: JobQuery, options?: RequestOptions): AsyncGenerator<Job, void, undefined>;
  /** Ask the job's worker to stop; a final job is returned unchanged. */
  cancel(jobId: string, options?: RequestOptions): Promise<Job>;
  /** Submit a final job again as a new one, with its seed; `changes` override its fields. */
  retry(jobId: string, changes?: RetryChanges, options?: SubmitOptions): Promise<JobHandle>;
  /** Delete a final job and its files. */
  delete(jobId: string, options?: RequestOptions): Promise<void>;
}

export function jobsOf(connection: Connection): Jobs {
  const { api, rules } = connection;
  const pathOf = (jobId: string) => ({ path: { job_id: jobId } });
  return {
    async get(jobId, options) {
      const { data } = await send(
        (signal) => api.GET("/v1/jobs/{job_id}", { params: pathOf(jobId), signal }),
        rules(options),
      );
      return data;
    },
    async *list(query = {}, options) {
      let after = query.after;
      for (;;) {
        const params = { query: { ...query, ...(after == null ? {} : { after }) } };
        const { data: page } = await send(
          (signal) => api.GET("/v1/jobs", { params, signal }),
          rules(options),
        );
        yield* page.data;
        if (!page.has_more) return;
        after = page.last_id;
      }
    },
    cancel: (jobId, options) => cancel(connection, jobId, options),
    retry(jobId, changes = {}, options) {
      const body = serialized<"VideoOptions">(changes);
      return submit(
        connection,
        ({ params: { header }, signal }) => {
          const params = { header, ...pathOf(jobId) };
          return api.POST("/v1/jobs/{job_id}/retry", { ...body, params, signal });
        },
        options,
      );
    },
    async delete(jobId, options) {
      let tries = 0;
      try {
        await send((signal) => {
          tries++;
          return api.DELETE("/v1/jobs/{job_id}", { params: pathOf(jobId), signal });
        }, rules(options));
      } catch (error) {
        // An earlier try deleted it, and its answer was lost.
        if (tries < 2 || !(error instanceof ResponseError) || error.status !== 404) throw error;
      }
    },
  };
}
