// What errors say to whoever reads their messages.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openFile, type Problem, ResponseError } from "../src/node/index.js";

test("a refusal names each field once", () => {
  const errors = [
    ["/width", "65 is not possible"],
    ["/seed", "seed: must be a whole number"],
    ["/video", "/video must be base64"],
    ["", "the request: give `text` or `audio`"],
  ].map(([pointer, detail]) => ({ pointer, detail, code: "" }));

  const { message } = new ResponseError(422, { code: "x", detail: "", errors } as never as Problem);

  assert.equal(
    message,
    "/width: 65 is not possible; /seed: must be a whole number; /video: must be base64; " +
      "the request: give `text` or `audio` (x)",
  );
});

test("a file that cannot be opened is named", async () => {
  await assert.rejects(openFile("/nowhere/face.jpg"), /ENOENT: .*'\/nowhere\/face.jpg'/);
});
