/** The client of one service. */

import { type ClientOptions, type Connection, connect, type RequestOptions } from "./connection.js";
import { type Answer, send } from "./http.js";
import { type Jobs, jobsOf } from "./jobs.js";
import { type JobHandle, type SubmitOptions, serialized, submit } from "./submit.js";
import type {
  AvatarRequest,
  Estimate,
  Health,
  Model,
  SucceededJob,
  VideoRequest,
} from "./types.js";
import { type WaitOptions, waitForJob } from "./wait.js";

export interface Client {
  /** The service's address, without a slash at its end. */
  readonly url: string;
  generateVideo(request: VideoRequest, options?: SubmitOptions): Promise<JobHandle>;
  generateAvatar(request: AvatarRequest, options?: SubmitOptions): Promise<JobHandle>;
  /** Wait for a job that was submitted earlier, or by another process; as `JobHandle.result`. */
  waitForJob(jobId: string, options?: WaitOptions): Promise<SucceededJob>;
  /** Resolve a request for a video or an avatar, and tell what it costs, without starting a job. */
  estimate(request: VideoRequest | AvatarRequest, options?: RequestOptions): Promise<Estimate>;
  /** The models of the service, its default first. */
  models(options?: RequestOptions): Promise<Model[]>;
  /** Also returned, not thrown, when the service is unhealthy. */
  health(options?: RequestOptions): Promise<Health>;
  readonly jobs: Jobs;
  /** openapi-fetch with the API's types, for all other routes; it retries nothing. */
  readonly api: Connection["api"];
}

export function createClient(options: ClientOptions): Client {
  return clientOf(connect(options));
}

export function clientOf(connection: Connection): Client {
  const { api, rules } = connection;
  return {
    url: connection.url,
    generateVideo(request, opts) {
      const body = serialized<"VideoParams">(request);
      return submit(connection, (init) => api.POST("/generate-video", { ...body, ...init }), opts);
    },
    generateAvatar(request, opts) {
      const body = serialized<"AvatarParams">(request);
      return submit(connection, (init) => api.POST("/generate-avatar", { ...body, ...init }), opts);
    },
    waitForJob: (jobId, opts) => waitForJob(connection, jobId, opts),
    async estimate(request, opts) {
      const body = serialized<"VideoParams" | "AvatarParams">(request);
      const post = (signal: AbortSignal) => api.POST("/v1/estimate", { ...body, signal });
      return (await send(post, rules(opts))).data;
    },
    async models(opts) {
      return (await send((signal) => api.GET("/v1/models", { signal }), rules(opts))).data.data;
    },
    async health(opts) {
      return (await send((signal) => getHealth(api, signal), rules(opts))).data;
    },
    jobs: jobsOf(connection),
    api,
  };
}

/** An unhealthy service says so in the body of a 503; a proxy that cannot reach it does not. */
async function getHealth(api: Connection["api"], signal: AbortSignal): Promise<Answer<Health>> {
  const { data, error, response } = await api.GET("/health", { signal });
  const isOurs = typeof error === "object" && error !== null && "queue" in error;
  return { data: isOurs ? error : data, error, response };
}
