/** Files as media of a request. */

import { openAsBlob } from "node:fs";
import { basename } from "node:path";

/** Open a file for a request; it is read as it is sent. Throws if there is no such file. */
export async function openFile(path: string): Promise<File> {
  return new File([await openAsBlob(path)], basename(path));
}
