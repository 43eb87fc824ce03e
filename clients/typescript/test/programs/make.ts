// Submits, waits and downloads: `make.ts FILE [REQUEST] [KEY]`; with a job's id in place of the
// request it resumes. Prints a line of JSON for each step.
import { createClient } from "../../src/node/index.js";

const [path = "", request = "{}", idempotencyKey] = process.argv.slice(2);
const tell = (step: object) => process.stdout.write(`${JSON.stringify(step)}\n`);

const rushes = createClient({
  onRetry: ({ error, delayMs }) => tell({ retry: error.message, delayMs }),
});
let id = request;
if (request.startsWith("{")) {
  const asked = { prompt: "a red ball", width: 64, height: 64, num_frames: 4 };
  const handle = await rushes.generateVideo(
    { ...asked, ...(JSON.parse(request) as object) },
    { idempotencyKey },
  );
  id = handle.id;
}
tell({ id });
const job = await rushes.waitForJob(id, { onProgress: ({ status }) => tell({ status }) });
await rushes.download(job, path);
tell({ saved: path, sha256: job.result.sha256 });
