/** For what runs before a bundle, in Node. A composition that imports this cannot be bundled. */

export type { Clip } from "../clip.js";
export type { ClipRequest } from "./request.js";
export {
  ClipError,
  type ResolveOptions,
  resolveClips,
  type SubmitClipsOptions,
  submitClips,
} from "./resolve.js";
