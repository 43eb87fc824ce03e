// Resolves a brief and prints its clips: `resolve.ts PUBLIC BRIEF`. Images are paths or data URIs in
// the brief.
import { openFile } from "rushes/node";
import { type ClipRequest, resolveClips } from "rushes-remotion/node";

const [publicDir = "public", brief = "[]"] = process.argv.slice(2);
const requests = JSON.parse(brief) as ClipRequest[];
for (const request of requests) {
  if (
    typeof request === "object" &&
    "video" in request &&
    typeof request.video.image === "string" &&
    !request.video.image.startsWith("data:")
  ) {
    request.video.image = await openFile(request.video.image);
  }
}
console.log("resolving");
console.log(JSON.stringify(await resolveClips(requests, { publicDir })));
