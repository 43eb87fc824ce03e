/** Bodies of submits: JSON, or a form if files are among the fields. */

import type { Media } from "./types.js";

/** Return what JSON can hold of the fields, or a form with a part for each file. */
export function bodyOf(fields: object): string | FormData {
  const files = new Map<string, Blob>();
  const plain = JSON.parse(JSON.stringify(withoutFiles(fields, "", files))) as object;
  if (files.size === 0) return JSON.stringify(plain);
  const form = new FormData();
  for (const [name, value] of Object.entries(plain)) addField(form, name, value);
  for (const [name, file] of files) form.append(name, file, fileName(file));
  return form;
}

/** Copy the fields; bytes in them move to `files`, by the names of their parts of a form. */
function withoutFiles(value: unknown, name: string, files: Map<string, Blob>): unknown {
  const file = asFile(value);
  if (file) {
    files.set(name, file);
    return undefined;
  }
  if (value instanceof URL) return value.href;
  if (Array.isArray(value)) {
    return value.map((item, index) => withoutFiles(item, `${name}[${index}]`, files));
  }
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, item]) => {
    return [key, withoutFiles(item, name === "" ? key : `${name}[${key}]`, files)];
  });
  return Object.fromEntries(entries);
}

/** Keyframes with files are spelled field by field, all else that is no text is JSON. */
function addField(form: FormData, name: string, value: unknown): void {
  if (value === null) return;
  if (name === "keyframes" && Array.isArray(value)) {
    for (const [index, keyframe] of value.entries()) {
      for (const [key, item] of Object.entries(keyframe as object)) {
        form.append(`keyframes[${index}][${key}]`, String(item));
      }
    }
  } else {
    form.append(name, typeof value === "string" ? value : JSON.stringify(value));
  }
}

/** Return bytes as a Blob; null for texts and everything else. */
export function asFile(value: Media | unknown): Blob | null {
  if (value instanceof Blob) return value;
  if (value instanceof ArrayBuffer) return new Blob([value]);
  if (!ArrayBuffer.isView(value)) return null;
  // A copy: the view may lie in memory that is shared with others.
  return new Blob([new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice()]);
}

function fileName(file: Blob): string {
  return "name" in file && typeof file.name === "string" ? file.name : "file";
}
