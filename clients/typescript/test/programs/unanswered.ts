// Submits a request that is never answered, and prints the error: `unanswered.ts REQUEST`.
import { ConnectionError, createClient, type VideoRequest } from "../../src/node/index.js";

const asked = { prompt: "a red ball", width: 64, height: 64, num_frames: 4 };
const request = { ...asked, ...(JSON.parse(process.argv[2] ?? "{}") as VideoRequest) };
const error = await createClient({ maxRetries: 2 })
  .generateVideo(request)
  .catch((cause: unknown) => cause);
if (!(error instanceof ConnectionError)) throw error;
const { name, idempotencyKey } = error;
process.stdout.write(JSON.stringify({ name, idempotencyKey }));
