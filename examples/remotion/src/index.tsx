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
        {clips.map((clip, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: equal prompts are one clip, shown twice
          <Series.Sequence key={index} durationInFrames={framesOf(clip, fps)}>
            <GeneratedVideo clip={clip} />
            {clip.captions && <Captions captions={clip.captions} />}
          </Series.Sequence>
        ))}
      </Series>
    </AbsoluteFill>
  );
}

function Root() {
  return (
    <Composition
      id="Film"
      component={Film}
      defaultProps={{ clips: [] } as Props}
      calculateMetadata={calculateMetadata}
    />
  );
}

registerRoot(Root);
