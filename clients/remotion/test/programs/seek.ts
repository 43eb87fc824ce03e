// Renders the last frame of a video by its URL, and nothing else: `seek.ts URL SECONDS OUTPUT`.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { bundle } from "@remotion/bundler";
import { renderStill, selectComposition } from "@remotion/renderer";

const [src = "", seconds = "1", output = "still.png"] = process.argv.slice(2);
const browsers = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome"];
const clip = { src, jobId: "", width: 640, height: 360, fps: 24, sandbox: true };
const facts = { durationInSeconds: Number(seconds), hasAudio: false, captions: null };
const common = {
  serveUrl: await bundle({ entryPoint: join(import.meta.dirname, "..", "seek", "index.tsx") }),
  inputProps: { clips: [{ ...clip, ...facts }] },
  browserExecutable: browsers.find((path) => path !== undefined && existsSync(path)) ?? null,
  chromeMode: "chrome-for-testing" as const,
  chromiumOptions: { gl: "swangle" as const },
  logLevel: "error" as const,
};
const composition = await selectComposition({ ...common, id: "Seek" });
const frame = composition.durationInFrames - 1;
await renderStill({ ...common, composition, frame, output });
