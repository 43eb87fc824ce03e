// Resolves a brief and prints its clips: `resolve.ts PUBLIC BRIEF [TIMEOUT_MS]`. Images are paths or
// data URIs in the brief.
import { openFile } from "rushes/node";
import { type ClipRequest, resolveClips } from "rushes-remotion/node";

const [publicDir = "public", brief = "[]", timeoutMs = "600000"] = process.argv.slice(2);
const requests = JSON.parse(brief) as ClipRequest[];
for (const request of requests) {
  if (typeof request === "string") continue;
  if ("avatar" in request) {
    request.avatar.reference_image = await openFile(String(request.avatar.reference_image));
  } else if (typeof request.video.image === "string" && !request.video.image.startsWith("data:")) {
    request.video.image = await openFile(request.video.image);
  }
}
console.log("resolving");
const clips = await resolveClips(requests, { publicDir, timeoutMs: Number(timeoutMs) });
console.log(JSON.stringify(clips));
