import { AbsoluteFill, Composition, registerRoot, Series, useVideoConfig } from "remotion";
import { Captions, type Clip, calculateMetadata, framesOf, GeneratedVideo } from "rushes-remotion";

interface Props extends Record<string, unknown> {
  clips: Clip[];
}

function Film({ clips }: Props) {
  const { fps } = useVideoConfig();
  return (
    <AbsoluteFill style={{ backgroundColor: "black" }}>
      <Series>
        {clips.map((clip) => (
          <Series.Sequence key={clip.jobId} durationInFrames={framesOf(clip, fps)}>
            <GeneratedVideo clip={clip} />
            {clip.captions && <Captions captions={clip.captions} />}
          </Series.Sequence>
        ))}
      </Series>
    </AbsoluteFill>
  );
}

function Root() {
  // The size and the length come from the clips.
  const placeholder = { durationInFrames: 1, fps: 24, width: 768, height: 512 };
  return (
    <Composition
      id="Film"
      component={Film}
      defaultProps={{ clips: [] } as Props}
      calculateMetadata={calculateMetadata}
      {...placeholder}
    />
  );
}

registerRoot(Root);
