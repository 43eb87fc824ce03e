/** `render.ts FILM FOLDER`: make the clips that are missing, and render the film to FOLDER/FILM.mp4. */

import { existsSync } from "node:fs";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import { bundle } from "@remotion/bundler";
import { renderMedia, selectComposition } from "@remotion/renderer";
import { resolveClips } from "rushes-remotion/node";
import { briefOf } from "./brief.js";

process.on("disconnect", () => process.exit(1)); // whoever started it has died

const [film = "film", folder = "."] = process.argv.slice(2);
const output = join(folder, `${film}.mp4`);
const publicDir = join(import.meta.dirname, "public");
const entryPoint = join(import.meta.dirname, "src", "index.tsx");

// Everything that costs something happens here, before the bundle.
const clips = await resolveClips(await briefOf(film), { publicDir });

const browsers = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome"];
const common = {
  serveUrl: await bundle({ entryPoint, publicDir }),
  inputProps: { clips },
  // Remotion downloads a browser where there is none.
  browserExecutable: browsers.find((path) => path !== undefined && existsSync(path)) ?? null,
  chromeMode: "chrome-for-testing" as const,
  chromiumOptions: { gl: "swangle" as const },
  logLevel: "error" as const,
};
const composition = await selectComposition({ ...common, id: "Film" });
const unfinished = join(folder, `.${film}.${process.pid}.mp4`);
await renderMedia({ ...common, composition, codec: "h264", outputLocation: unfinished });
await rename(unfinished, output);
console.log(`rendered ${output}`);
process.exit(0); // else it would go on to listen for the end of whoever started it
