/** A film as a list of what to show; its name is its subject: `storm`. */

import { openFile } from "rushes/node";
import type { ClipRequest } from "rushes-remotion/node";

if (!process.env.RUSHES_API_KEY) {
  console.error("set RUSHES_API_KEY to a key of the service");
  process.exit(1);
}
const FACE = process.env.FACE ?? "face.jpg";

export async function briefOf(film: string): Promise<ClipRequest[]> {
  const about = { metadata: { film }, webhook_url: process.env.WEBHOOK_URL ?? null };
  return [
    { video: { prompt: `a paper boat in a ${film}`, duration_seconds: 2, ...about } },
    { avatar: { text: `A ${film} is coming.`, reference_image: await openFile(FACE), ...about } },
    { video: { prompt: `the boat after the ${film}`, duration_seconds: 1.5, ...about } },
  ];
}
