// Makes a loop of an image, and renders it twice over: `repeat.ts IMAGE FRAMES FOLDER`.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { bundle } from "@remotion/bundler";
import { renderMedia, selectComposition } from "@remotion/renderer";
import { openFile } from "rushes/node";
import { resolveClips } from "rushes-remotion/node";

const [image = "", frames = "17", folder = "."] = process.argv.slice(2);
const publicDir = join(folder, "public");
const size = { width: 640, height: 360, num_frames: Number(frames) };
const video = { prompt: "it rocks", image: await openFile(image), loop: true, ...size };
const clips = await resolveClips([{ video }], { publicDir });
const entryPoint = join(import.meta.dirname, "..", "repeat", "index.tsx");
const browsers = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome"];
const common = {
  serveUrl: await bundle({ entryPoint, publicDir }),
  inputProps: { clips },
  browserExecutable: browsers.find((path) => path !== undefined && existsSync(path)) ?? null,
  chromeMode: "chrome-for-testing" as const,
  chromiumOptions: { gl: "swangle" as const },
  logLevel: "error" as const,
};
const composition = await selectComposition({ ...common, id: "Repeat" });
const outputLocation = join(folder, "film.mp4");
await renderMedia({ ...common, composition, codec: "h264", outputLocation });
console.log(clips[0]?.src);
