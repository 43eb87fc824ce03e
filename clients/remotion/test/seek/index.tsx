import { Composition, registerRoot } from "remotion";
import { type Clip, calculateMetadata, GeneratedVideo } from "rushes-remotion";

interface Props extends Record<string, unknown> {
  clips: Clip[];
}

function Seek({ clips: [clip] }: Props) {
  // The test is about this component alone: no other way to the bytes is tried.
  return clip && <GeneratedVideo clip={clip} disallowFallbackToOffthreadVideo />;
}

registerRoot(() => (
  <Composition
    id="Seek"
    component={Seek}
    calculateMetadata={calculateMetadata}
    defaultProps={{ clips: [] } as Props}
    {...{ durationInFrames: 1, fps: 24, width: 640, height: 360 }}
  />
));
