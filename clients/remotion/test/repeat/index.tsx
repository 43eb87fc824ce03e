import { Composition, registerRoot, useVideoConfig } from "remotion";
import { type Clip, calculateMetadata, framesOf, GeneratedVideo } from "rushes-remotion";

interface Props extends Record<string, unknown> {
  clips: Clip[];
}

/** Repeats a loop, whose last frame is its first again. */
function Repeat({ clips: [clip] }: Props) {
  const { fps } = useVideoConfig();
  return clip && <GeneratedVideo clip={clip} loop trimAfter={framesOf(clip, fps) - 1} />;
}

registerRoot(() => (
  <Composition
    id="Repeat"
    component={Repeat}
    calculateMetadata={({ props }) => {
      const { durationInFrames, ...metadata } = calculateMetadata({ props });
      return { ...metadata, durationInFrames: 2 * durationInFrames };
    }}
    defaultProps={{ clips: [] } as Props}
    {...{ durationInFrames: 1, fps: 24, width: 640, height: 360 }}
  />
));
