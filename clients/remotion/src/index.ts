/** For compositions. It cannot generate anything: that is done before the bundle, by `rushes-remotion/node`. */

export type { Caption } from "@remotion/captions";
export { Captions, type CaptionsProps } from "./Captions.js";
export { type Clip, calculateMetadata, type FilmMetadata, framesOf, metadataOf } from "./clip.js";
export { GeneratedVideo, type GeneratedVideoProps } from "./GeneratedVideo.js";
