/** Webhooks of Rushes: verify them, and handle each once. Runs wherever WebCrypto does. */

export * from "./handlers.js";
export {
  type JobSnapshot,
  verifyWebhook,
  type WebhookEvent,
  type WebhookHeaders,
  WebhookSecretError,
  WebhookVerificationError,
} from "./verify.js";
