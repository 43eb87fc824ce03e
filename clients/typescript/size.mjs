// Prints how large the client is for a browser: bundled with openapi-fetch, minified, gzipped.
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

for (const [name, entry] of [
  ["rushes", "dist/index.js"],
  ["rushes/webhooks", "dist/webhooks/index.js"],
]) {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    write: false,
  });
  const [{ contents }] = outputFiles;
  console.log(`${name}: ${gzipSync(contents).length} bytes gzipped, ${contents.length} minified`);
}
