/** Files as media of a request. */

import { constants, openAsBlob } from "node:fs";
import { access } from "node:fs/promises";
import { basename } from "node:path";

/**
 * Open a file for a request; it is read as it is sent. Throws an error that names the path if there
 * is no such file, or it cannot be read.
 */
export async function openFile(path: string): Promise<File> {
  await access(path, constants.R_OK); // openAsBlob does not say which file it is, or why
  return new File([await openAsBlob(path)], basename(path));
}
