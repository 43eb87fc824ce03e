/** Flags of the command, and the request that they make. */

import { existsSync, readFileSync, statSync } from "node:fs";
import { parseArgs } from "node:util";
import {
  type AvatarRequest,
  type Media,
  openFile,
  type VideoRequest,
} from "../../clients/typescript/src/node/index.js";
import { CommandError, EXIT_HELP, Exit } from "./exits.js";

const OPTIONS = {
  prompt: { type: "string", short: "p" },
  output: { type: "string", short: "o" },
  force: { type: "boolean" },
  frames: { type: "string", short: "f" },
  seconds: { type: "string" },
  width: { type: "string", short: "w" },
  height: { type: "string", short: "h" },
  fps: { type: "string" },
  steps: { type: "string", short: "s" },
  guidance: { type: "string", short: "g" },
  negative: { type: "string" },
  model: { type: "string", multiple: true },
  seed: { type: "string" },
  image: { type: "string" },
  loop: { type: "boolean" },
  video: { type: "string" },
  avatar: { type: "boolean" },
  audio: { type: "string" },
  text: { type: "string" },
  voice: { type: "string" },
  job: { type: "string" },
  "idempotency-key": { type: "string" },
  health: { type: "boolean" },
  json: { type: "boolean" },
  url: { type: "string" },
  key: { type: "string" },
  help: { type: "boolean" },
} as const;

export const HELP = `Make a video of a prompt, or an avatar of a photo: submit, watch, download.

  npx tsx scripts/generate-video-modal.ts --prompt "a paper boat on a river" --output boat.mp4
  npx tsx scripts/generate-video-modal.ts --avatar --image scripts/faces/anna.jpg --text "Welcome back." -o hello.mp4

  -p, --prompt TEXT       what to show
  -o, --output FILE       file or folder; else named after the job
      --force             overwrite an existing file
  -f, --frames N          frames, instead of --seconds
      --seconds N         length
  -w, --width N           pixels
  -h, --height N          pixels
      --fps N             frames per second
  -s, --steps N           denoising steps
  -g, --guidance N        how strongly the prompt steers
      --negative TEXT     what to avoid
      --model NAME        may be repeated: the next is the fallback
      --seed N            the same seed gives the same video
      --image FILE|URL|JOB   first image of the video; with --avatar the photo of a face
      --loop              end with --image, so that the video can be repeated
      --video FILE|URL|JOB   source video for video-to-video
      --avatar            make a talking avatar of --image, and --text or --audio
      --audio FILE|URL|JOB   the voice of the avatar
      --text TEXT         what the avatar says
      --voice NAME        the voice of --text
      --job ID            wait for a job that was submitted earlier, and download it
      --idempotency-key KEY   requests with the same key create one job, for 24 hours
      --health            show the state of the service
      --json              print the API's JSON, nothing else, to standard output
      --url URL           the service's address; else RUSHES_URL, else this machine's
      --key KEY           the API key; else RUSHES_API_KEY, else that in .rushes
      --help              show this

${EXIT_HELP}`;

export type Flags = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>["values"];

/** How the API's fields are called here. */
export const FLAG_NAMES: ReadonlyMap<string, string> = new Map([
  ...Object.keys(OPTIONS).map((name) => [name, `--${name}`] as const),
  ["Idempotency-Key", "--idempotency-key"],
  ["num_frames", "--frames"],
  ["duration_seconds", "--seconds"],
  ["num_inference_steps", "--steps"],
  ["guidance_scale", "--guidance"],
  ["negative_prompt", "--negative"],
  ["reference_image", "--image"],
]);

// All that --job goes with: the rest makes a new job.
const WITH_JOB: ReadonlySet<string> = new Set(
  "job output force json url key health help".split(" "),
);

/** Throws a CommandError for an unknown flag, one without its value, or one that --job would drop. */
export function parseFlags(words: string[]): Flags {
  let flags: Flags;
  try {
    flags = parseArgs({ args: words, options: OPTIONS }).values;
  } catch (error) {
    throw new CommandError(Exit.invalid, (error as Error).message, "--help lists the flags");
  }
  const alien = Object.keys(flags).find((name) => !WITH_JOB.has(name));
  if (flags.job !== undefined && alien) {
    throw new CommandError(Exit.invalid, `--${alien} is for a new job, not for --job`);
  }
  return flags;
}

/** Throws a CommandError for a value that is no number, or names no file. */
export async function videoOf(flags: Flags): Promise<VideoRequest> {
  const spoken = (["audio", "text", "voice"] as const).find((name) => flags[name] !== undefined);
  if (spoken) throw new CommandError(Exit.invalid, `--${spoken} needs --avatar`);
  if (flags.prompt === undefined) throw new CommandError(Exit.invalid, "--prompt is missing");
  return defined({
    prompt: flags.prompt,
    ...common(flags),
    num_frames: number(flags, "frames"),
    fps: number(flags, "fps"),
    num_inference_steps: number(flags, "steps"),
    guidance_scale: number(flags, "guidance"),
    negative_prompt: flags.negative,
    image: await media(flags, "image"),
    loop: flags.loop,
    video: await media(flags, "video"),
  });
}

/** Throws a CommandError for a value that is no number, or names no file. */
export async function avatarOf(flags: Flags): Promise<AvatarRequest> {
  const names = ["frames", "fps", "steps", "guidance", "negative", "loop", "video"] as const;
  const alien = names.find((name) => flags[name] !== undefined);
  if (alien) throw new CommandError(Exit.invalid, `--${alien} is for videos, not for --avatar`);
  return defined({
    prompt: flags.prompt,
    ...common(flags),
    text: flags.text,
    voice: flags.voice,
    audio: await media(flags, "audio"),
    reference_image: await media(flags, "image"),
  });
}

function common(flags: Flags) {
  const [model, ...others] = flags.model ?? [];
  return {
    ...(others.length > 0 ? { models: flags.model } : { model }),
    duration_seconds: number(flags, "seconds"),
    width: number(flags, "width"),
    height: number(flags, "height"),
    seed: number(flags, "seed"),
  };
}

type Defined<T> = { [Name in keyof T]: Exclude<T[Name], undefined> };

/** Leave out what is undefined. */
function defined<T extends object>(fields: T): Defined<T> {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Defined<T>;
}

function number(
  flags: Flags,
  name: "frames" | "seconds" | "width" | "height" | "fps" | "steps" | "guidance" | "seed",
): number | undefined {
  const text = flags[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new CommandError(Exit.invalid, `--${name}: ${JSON.stringify(text)} is not a number`);
}

const JOB_ID = /^job_[0-9a-v]{26}$/;

/** A file, unless it is a URL, a data URI or the id of a job. */
async function media(flags: Flags, name: "image" | "video" | "audio"): Promise<Media | undefined> {
  const text = flags[name];
  if (text === undefined || text.includes("://") || text.startsWith("data:") || JOB_ID.test(text)) {
    return text;
  }
  if (!statSync(text, { throwIfNoEntry: false })?.isFile()) {
    const detail = `--${name}: ${JSON.stringify(text)} is no file, URL or job id`;
    throw new CommandError(Exit.invalid, detail);
  }
  return openFile(text);
}

/** Where the service is, and the key: flags, the environment, `.env`, and what `make up` keeps. */
export function connectionOf(flags: Flags): { url: string; apiKey: string | undefined } {
  if (existsSync(".env")) process.loadEnvFile(".env");
  const { RUSHES_URL, RUSHES_API_KEY, RUSHES_PORT, RUSHES_DATA_DIR } = process.env;
  const kept = (name: string) => {
    const file = `${RUSHES_DATA_DIR || ".rushes"}/${name}`;
    return existsSync(file) ? readFileSync(file, "utf8").trim() : "";
  };
  const local = kept("address") || `http://127.0.0.1:${RUSHES_PORT || 8787}`;
  const url = flags.url || RUSHES_URL || local;
  if (!/^https?:\/\//.test(url)) {
    throw new CommandError(Exit.invalid, `the address ${url} must begin with http:// or https://`);
  }
  // The kept key is of the service of this folder: no other machine gets it.
  const host = URL.canParse(url) ? new URL(url).hostname : "";
  const isHere = url === local || /^(localhost|127(\.\d+){3}|\[::1\])$/.test(host);
  const apiKey = flags.key || RUSHES_API_KEY || (isHere ? kept("api-key") : "");
  return { url, apiKey: apiKey || undefined };
}
