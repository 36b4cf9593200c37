/** Client of the payment router twqr: charges once, even if calls fail. */
export { CardToken } from "./token.js";
export { Client, type Options, type Result } from "./client.js";
export type { Credentials } from "./credentials.js";
export { Refused } from "./refusal.js";
export { canonicalText, sign, type Json } from "./sign.js";
export * as pos from "./generated/twqr/pos/v1/pos.js";
