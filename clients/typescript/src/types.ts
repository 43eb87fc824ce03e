/** Names for what the API takes and returns; everything here is derived from `schema.ts`. */

import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];

/** A job. Its `status` tells which one it is: only what has succeeded has a `result`, for example. */
export type Job = Schemas["AnyJob"];
export type OpenJob = Schemas["OpenJob"];
export type SucceededJob = Schemas["SucceededJob"];
export type FailedJob = Schemas["FailedJob"];
export type CanceledJob = Schemas["CanceledJob"];
export type ExpiredJob = Schemas["ExpiredJob"];
export type FinalJob = Exclude<Job, OpenJob>;

export type Result = Schemas["Result"];
export type Model = Schemas["ModelOut"];
export type Health = Schemas["Health"];
export type Estimate = Schemas["Estimate"];

/** The problem documents (RFC 9457) that the service answers with, told apart by `code`. */
export type Problem = {
  [Name in keyof Schemas]: Name extends "FieldProblem"
    ? never
    : Name extends `${string}Problem`
      ? Schemas[Name]
      : never;
}[keyof Schemas];
export type FieldProblem = Schemas["FieldProblem"];

/**
 * An image, a video or a recording: its bytes, or a text, which is an https URL, a data URI, base64
 * or the id of an earlier job. `openFile` of `rushes/node` makes one of a path.
 */
export type Media = string | URL | Blob | ArrayBuffer | ArrayBufferView;

type WithMedia<Params, Fields extends keyof Params> = Omit<Params, Fields | "response_format"> & {
  [Field in Fields]?: Media | null;
};

export interface Keyframe {
  /** Counted from 0. */
  frame: number;
  image: Media;
}

/** The body of `POST /generate-video`; only `prompt` is required. */
export type VideoRequest = WithMedia<
  Omit<Schemas["VideoParams"], "keyframes">,
  "image" | "last_image" | "video"
> & { keyframes?: Keyframe[] | null };

/** The body of `POST /generate-avatar`: a face, and a text or a recording. */
export type AvatarRequest = WithMedia<Schemas["AvatarParams"], "audio" | "reference_image">;

/** Fields that a retry changes. */
export type RetryChanges = Partial<VideoRequest> | AvatarRequest;

/** Filters and order of a list of jobs. */
export type JobQuery = NonNullable<paths["/v1/jobs"]["get"]["parameters"]["query"]>;

/** The files of a finished job. */
export type Variant = NonNullable<
  NonNullable<paths["/v1/jobs/{job_id}/content"]["get"]["parameters"]["query"]>["variant"]
>;

export function isFinal(job: Job): job is FinalJob {
  return job.status !== "queued" && job.status !== "starting" && job.status !== "running";
}
