import { Video, type VideoProps } from "@remotion/media";
import type { ReactElement } from "react";
import { staticFile } from "remotion";
import type { Clip } from "./clip.js";

export type GeneratedVideoProps = Omit<VideoProps, "src"> & { clip: Clip };

/**
 * Shows a clip, and fills its parent with it. It is `<Video>` of `@remotion/media`, which reads no
 * more of a file than it shows, and falls back to `<OffthreadVideo>` where the browser cannot decode.
 */
export function GeneratedVideo({ clip, style, ...props }: GeneratedVideoProps): ReactElement {
  const src = URL.canParse(clip.src) ? clip.src : staticFile(clip.src);
  const filling = { width: "100%", height: "100%", ...style };
  return <Video objectFit="cover" {...props} style={filling} src={src} />;
}
