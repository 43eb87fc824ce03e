/** `submit.ts FILM`: submit what a film is made of, and go; WEBHOOK_URL is called for each clip. */

import { submitClips } from "rushes-remotion/node";
import { briefOf } from "./brief.js";

const [film = "film"] = process.argv.slice(2);
const jobs = await submitClips(await briefOf(film));
for (const { id, status } of jobs) console.log(id, status);
if (jobs.every(({ status }) => status === "succeeded")) {
  console.log(`nothing is new, and nobody is called: run render.ts ${film}`);
}
