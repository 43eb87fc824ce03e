// Runs a workflow of n8n as n8n does, as far as the nodes of our examples go:
// `run_workflow.mjs FILE EXECUTION OUTPUT [FIELD=TEXT …]`, where a field is one of the node `Brief`.
// The credential of RUSHES_API_KEY is sent by the nodes that name one.
import { readFile, writeFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import { runInNewContext } from "node:vm";

const [file, executionId, output, ...words] = process.argv.slice(2);
const fields = Object.fromEntries(words.map((word) => word.split(/=(.*)/s)));
const { nodes, connections } = JSON.parse(await readFile(file, "utf8"));
const results = {};

/** A text that starts with `=` is a template; a template of one expression is its value. */
function evaluate(text, $json) {
  if (typeof text !== "string" || !text.startsWith("=")) return text;
  const $ = (name) => ({ first: () => ({ json: results[name] }) });
  const value = (code) => runInNewContext(code, { $json, $, $execution: { id: executionId } });
  const whole = /^=\{\{((?:(?!\}\}).)*)\}\}$/s.exec(text);
  if (whole) return value(whole[1]);
  return text.slice(1).replace(/\{\{(.*?)\}\}/gs, (_, code) => String(value(code)));
}

async function request(node, $json) {
  const { method = "GET", url, options, ...parameters } = node.parameters;
  const headers = new Headers();
  for (const { name, value } of parameters.headerParameters?.parameters ?? []) {
    headers.set(name, evaluate(value, $json));
  }
  if (parameters.authentication) {
    headers.set("Authorization", `Bearer ${process.env.RUSHES_API_KEY}`);
  }
  const body = parameters.sendBody ? evaluate(parameters.jsonBody, $json) : undefined;
  if (body !== undefined) headers.set("Content-Type", "application/json");
  const signal = AbortSignal.timeout(options.timeout ?? 300_000);
  const response = await fetch(evaluate(url, $json), { method, headers, body, signal });
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  if (options.response?.response.responseFormat !== "file") return response.json();
  await writeFile(output, new Uint8Array(await response.arrayBuffer()));
  return {};
}

async function repeated(node, $json) {
  for (let left = node.retryOnFail ? node.maxTries : 1; ; left--) {
    try {
      return await request(node, $json);
    } catch (error) {
      if (left === 1) throw error;
      await setTimeout(node.waitBetweenTries);
    }
  }
}

/** Return the node's result and which of its exits is taken. */
async function run(node, $json) {
  switch (node.type) {
    case "n8n-nodes-base.manualTrigger":
      return [{}, 0];
    case "n8n-nodes-base.set": {
      const { assignments } = node.parameters.assignments;
      const values = assignments.map(({ name, value }) => [name, evaluate(value, $json)]);
      return [{ ...Object.fromEntries(values), ...fields }, 0];
    }
    case "n8n-nodes-base.httpRequest":
      return [await repeated(node, $json), 0];
    case "n8n-nodes-base.if": {
      const [{ leftValue, operator }] = node.parameters.conditions.conditions;
      if (operator.operation !== "true") throw new Error(`unknown: ${operator.operation}`);
      return [$json, evaluate(leftValue, $json) === true ? 0 : 1];
    }
    case "n8n-nodes-base.stopAndError":
      throw new Error(evaluate(node.parameters.errorMessage, $json));
    default:
      throw new Error(`unknown: ${node.type}`);
  }
}

let node = nodes.find(({ type }) => type.endsWith("Trigger"));
let json = {};
while (node !== undefined) {
  const [result, exit] = await run(node, json);
  results[node.name] = json = result;
  const next = connections[node.name]?.main[exit]?.[0];
  node = nodes.find(({ name }) => name === next?.node);
}
