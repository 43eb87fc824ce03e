/** Make a video of a prompt: `npx tsx make-video.ts "a paper boat on a river" boat.mp4`. */

import { createClient, JobFailedError, ResponseError } from "rushes/node";

if (!process.env.RUSHES_API_KEY) {
  console.error("set RUSHES_API_KEY to a key of the service");
  process.exit(1);
}
const [prompt = "a paper boat on a river", path = "boat.mp4"] = process.argv.slice(2);
const rushes = createClient(); // RUSHES_URL and RUSHES_API_KEY

try {
  const handle = await rushes.generateVideo({ prompt, duration_seconds: 2 });
  console.log(handle.id); // whatever happens now: rushes.waitForJob(id) goes on
  const job = await handle.result({
    onProgress: ({ status, progress }) => console.error(`${status} ${progress} %`),
    timeoutMs: 30 * 60_000,
  });
  await rushes.download(job, path);
} catch (error) {
  if (error instanceof ResponseError)
    console.error(error.message); // says what to change
  else if (error instanceof JobFailedError) console.error(error.job.error.message);
  else throw error;
  process.exitCode = 1;
}
