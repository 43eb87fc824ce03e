/** A finished clip, as data: it goes into the props of a composition. */

import type { Caption } from "@remotion/captions";

export interface Clip {
  /** A file below `public`, for `staticFile`; or a URL. */
  src: string;
  /** The job that made it. */
  jobId: string;
  width: number;
  height: number;
  fps: number;
  durationInSeconds: number;
  hasAudio: boolean;
  /** True if it is a placeholder of a sandbox model. */
  sandbox: boolean;
  /** The words of an avatar and their times; null where there are none. */
  captions: Caption[] | null;
}

/** How many frames a clip takes in a composition of so many frames a second; at least one. */
export function framesOf(clip: Clip, fps: number): number {
  return Math.max(1, Math.round(clip.durationInSeconds * fps));
}

export interface FilmMetadata {
  durationInFrames: number;
  fps: number;
  width: number;
  height: number;
}

// Remotion asks for the metadata of every composition, also before there are clips.
const EMPTY: FilmMetadata = { durationInFrames: 1, fps: 24, width: 768, height: 512 };

/**
 * The metadata of clips one after the other: the size and frame rate are those of the first. Without
 * clips it is one empty frame.
 */
export function metadataOf(clips: readonly Clip[]): FilmMetadata {
  const [first] = clips;
  if (first === undefined) return EMPTY;
  const { fps, width, height } = first;
  const durationInFrames = clips.reduce((sum, clip) => sum + framesOf(clip, fps), 0);
  return { durationInFrames, fps, width, height };
}

/** For a composition with `clips` among its props: `calculateMetadata={calculateMetadata}`. */
export function calculateMetadata({ props }: { props: { clips: readonly Clip[] } }): FilmMetadata {
  return metadataOf(props.clips);
}
