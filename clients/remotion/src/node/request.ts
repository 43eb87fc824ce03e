/** What a clip is made of, and the key by which equal clips are known. */

import { createHash } from "node:crypto";
import type { AvatarRequest, JobHandle, NodeClient, VideoRequest } from "rushes/node";

/** A prompt, or all of a request for a video or an avatar. */
export type ClipRequest = string | { video: VideoRequest } | { avatar: AvatarRequest };

/** A request that is ready to be sent, and its key. */
export interface KeyedRequest {
  key: string;
  kind: "video" | "avatar";
  /** Names the clip in errors. */
  title: string;
  /** Whether it names no model: the service's default makes it. */
  byDefault: boolean;
  submit(client: NodeClient, attempt: number): Promise<JobHandle>;
}

/** The label of the jobs that make clips; its text is the key. */
export const LABEL = "clip";

// They change nothing about the clip: the same one is wanted, however urgently.
const NOT_OF_THE_CLIP: ReadonlySet<string> = new Set([
  ...["metadata", "priority", "timeout_seconds", "start_timeout_seconds"],
  ...["webhook_url", "webhook_events"],
]);

const DATA_URI = /^data:[^,]*;base64,/i;

/**
 * Equal requests have equal keys, however their files came, and whatever the address of the service.
 * Two clips of one prompt are one, unless their seeds differ.
 */
export async function keyed(request: ClipRequest): Promise<KeyedRequest> {
  if (typeof request === "string") return keyed({ video: { prompt: request } });
  if ("video" in request) {
    const key = await keyOf("video", request.video);
    const video = { ...request.video, metadata: { ...request.video.metadata, [LABEL]: key } };
    const submit: KeyedRequest["submit"] = (client, attempt) =>
      client.generateVideo(video, { idempotencyKey: `clip-${key}-${attempt}` });
    return { key, kind: "video", ...factsOf(video), submit };
  }
  const asked = withCaptions(request.avatar);
  const key = await keyOf("avatar", asked);
  const avatar = { ...asked, metadata: { ...asked.metadata, [LABEL]: key } };
  const submit: KeyedRequest["submit"] = (client, attempt) =>
    client.generateAvatar(avatar, { idempotencyKey: `clip-${key}-${attempt}` });
  return { key, kind: "avatar", ...factsOf(avatar), submit };
}

function factsOf(fields: VideoRequest | AvatarRequest): { title: string; byDefault: boolean } {
  const { model, models } = fields;
  const title = ("text" in fields ? fields.text : null) ?? fields.prompt ?? "a recording";
  return { title, byDefault: model == null && models == null };
}

/** Ask for the words of what is spoken, as `<Captions>` takes them. */
function withCaptions(avatar: AvatarRequest): AvatarRequest {
  const isKnown = typeof avatar.text === "string";
  return isKnown ? { captions: { format: "json", burn_in: false }, ...avatar } : avatar;
}

async function keyOf(kind: string, fields: object): Promise<string> {
  const own = Object.entries(fields).filter(([name]) => !NOT_OF_THE_CLIP.has(name));
  const text = JSON.stringify([kind, await canonical(Object.fromEntries(own))]);
  return sha256(text).slice(0, 40);
}

/** Replace bytes and data URIs by their SHA-256 and URLs by texts, leave out what is not set, and sort the fields. */
async function canonical(value: unknown): Promise<unknown> {
  if (value instanceof URL) return canonical(value.href);
  if (typeof value === "string" && DATA_URI.test(value)) {
    return { sha256: sha256(Buffer.from(value.replace(DATA_URI, ""), "base64")) };
  }
  if (value instanceof Blob) return { sha256: sha256(new Uint8Array(await value.arrayBuffer())) };
  if (value instanceof ArrayBuffer) return { sha256: sha256(new Uint8Array(value)) };
  if (ArrayBuffer.isView(value)) {
    return { sha256: sha256(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)) };
  }
  if (Array.isArray(value)) return Promise.all(value.map(canonical));
  if (typeof value !== "object" || value === null) return value;
  const given = Object.entries(value).filter(([, item]) => item !== undefined && item !== null);
  const sorted = given.toSorted(([a], [b]) => (a < b ? -1 : 1));
  const entries = sorted.map(async ([name, item]) => [name, await canonical(item)] as const);
  return Object.fromEntries(await Promise.all(entries));
}

function sha256(bytes: string | Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
