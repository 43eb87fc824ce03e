/** Exit codes, the same as those of `rushes`, and the error that carries one. */

import {
  ConnectionError,
  type FieldProblem,
  JobCanceledError,
  JobExpiredError,
  JobFailedError,
  ResponseError,
} from "../../clients/typescript/src/node/index.js";

export const Exit = {
  ok: 0,
  failure: 1,
  invalid: 2,
  unauthorized: 3,
  notFound: 4,
  noVideo: 5,
  unreachable: 6,
  interrupted: 130, // 128 + SIGINT, as in shells
} as const;
export type ExitCode = (typeof Exit)[keyof typeof Exit];

export const EXIT_HELP = `Exit codes:
  0  done
  1  no file could be written, no answer (429, 5xx), no video yet, or an unhealthy service
  2  wrong usage, or a request that was refused
  3  the key is missing, refused, or may not do this
  4  no such job or model
  5  the job failed, was canceled or expired
  6  the service cannot be reached
130  interrupted by Ctrl-C`;

/** Ends the command; the lines say what is wrong and what to do about it. */
export class CommandError extends Error {
  readonly exit: ExitCode;

  constructor(exit: ExitCode, ...lines: string[]) {
    super(lines.join("\n"));
    this.exit = exit;
  }
}

const IS_IT_RUSHES = "is that a Rushes service? --url or RUSHES_URL names another";

/** Say what any error means to whoever runs the command; `flags` are the names of the API's fields. */
export function explain(error: unknown, flags: ReadonlyMap<string, string>): CommandError {
  if (error instanceof CommandError) return error;
  if (error instanceof ResponseError) return explainResponse(error, flags);
  if (error instanceof ConnectionError) {
    const hint =
      error.cause instanceof SyntaxError
        ? IS_IT_RUSHES
        : "start a service with `make up`, or name another with --url or RUSHES_URL";
    return new CommandError(Exit.unreachable, error.message, hint);
  }
  const isNoVideo = [JobFailedError, JobCanceledError, JobExpiredError].some(
    (kind) => error instanceof kind,
  );
  const message = error instanceof Error ? error.message : String(error);
  return new CommandError(isNoVideo ? Exit.noVideo : Exit.failure, message);
}

function explainResponse(error: ResponseError, flags: ReadonlyMap<string, string>): CommandError {
  const { problem, status, fields } = error;
  if (problem === null) {
    return new CommandError(Exit.unreachable, error.message, IS_IT_RUSHES);
  }
  const lines = fields.map((field) => inFlags(field, flags));
  if (lines.length === 0) lines.push(problem.detail);
  if (status >= 500) lines.push(`request id: ${problem.request_id}`);
  if (status === 401)
    lines.push("the key comes from --key, RUSHES_API_KEY or else .rushes/api-key");
  return new CommandError(exitOf(error), ...lines);
}

function exitOf({ status, fields }: ResponseError): ExitCode {
  if (fields.some((field) => field.code === "unknown_model")) return Exit.notFound;
  if (status === 401 || status === 403) return Exit.unauthorized;
  if (status === 404) return Exit.notFound;
  return status === 429 || status >= 500 ? Exit.failure : Exit.invalid;
}

/** As `--seconds: must be at most 3600`, with the command's flags in place of the API's fields. */
function inFlags({ pointer, detail }: FieldProblem, flags: ReadonlyMap<string, string>): string {
  // `/metadata/scene` is a field of the body, `Name:` a header.
  const path = pointer.replace(/^[/?]|:$/g, "").split("/");
  const names = [`${path.at(-1)}: `, `${pointer} `, "the request: "];
  const name = names.find((start) => detail.startsWith(start)) ?? "";
  const text = detail
    .slice(name.length)
    .replace(/`(\w+)`|\b\w+_\w+\b/g, (word, quoted) => flags.get(quoted ?? word) ?? quoted ?? word);
  const flag = flags.get(path[0] ?? "");
  return flag === undefined || text.split(" ").includes(flag) ? text : `${flag}: ${text}`;
}
