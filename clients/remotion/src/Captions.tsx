import { type Caption, createTikTokStyleCaptions, type TikTokToken } from "@remotion/captions";
import { type CSSProperties, type ReactElement, useMemo } from "react";
import { AbsoluteFill, useCurrentFrame, useVideoConfig } from "remotion";

export interface CaptionsProps {
  captions: readonly Caption[];
  /** About how long a page of words is shown; default: 1.5 seconds. */
  pageMs?: number;
  style?: CSSProperties;
  /** Of the word that is spoken. */
  spokenStyle?: CSSProperties;
}

const PAUSE_MS = 600; // a longer one ends a page
const LINGER_MS = 300; // a page stays for so long after its last word

/** Shows the words of an avatar as they are spoken, a page at a time. */
export function Captions({
  captions,
  pageMs = 1500,
  style,
  spokenStyle,
}: CaptionsProps): ReactElement | null {
  const { fps, height } = useVideoConfig();
  const timeMs = (useCurrentFrame() / fps) * 1000;
  const pages = useMemo(() => pagesOf(captions, pageMs), [captions, pageMs]);
  const page = pages.find(({ startMs, endMs }) => startMs <= timeMs && timeMs < endMs);
  if (page === undefined) return null;
  return (
    <AbsoluteFill style={{ justifyContent: "flex-end", alignItems: "center" }}>
      <div style={{ ...LOOK, fontSize: height / 16, marginBottom: height / 14, ...style }}>
        {page.tokens.map((token) => (
          <span key={token.fromMs} style={isSpoken(token, timeMs) ? spokenStyle : undefined}>
            {token.text}
          </span>
        ))}
      </div>
    </AbsoluteFill>
  );
}

interface Page {
  tokens: TikTokToken[];
  startMs: number;
  endMs: number;
}

function pagesOf(captions: readonly Caption[], pageMs: number): Page[] {
  const { pages } = createTikTokStyleCaptions({
    captions: [...captions],
    combineTokensWithinMilliseconds: pageMs,
    breakOnSilenceAfterMilliseconds: PAUSE_MS,
  });
  return pages.map(({ tokens, startMs }, index) => {
    const spokenMs = (tokens.at(-1)?.toMs ?? startMs) + LINGER_MS;
    const nextMs = pages[index + 1]?.startMs ?? Number.POSITIVE_INFINITY;
    return { tokens, startMs, endMs: Math.min(spokenMs, nextMs) };
  });
}

function isSpoken(token: TikTokToken, timeMs: number): boolean {
  return token.fromMs <= timeMs && timeMs < token.toMs;
}

const LOOK: CSSProperties = {
  maxWidth: "88%",
  color: "white",
  fontFamily: "sans-serif",
  fontWeight: 700,
  lineHeight: 1.25,
  textAlign: "center",
  textShadow: "0 0 0.15em black, 0 0 0.4em black",
  whiteSpace: "pre-wrap",
};
