/** The signature of the HTTP form (proto/README.md, section HTTP form). */
import { createHash } from "node:crypto";

/** What a field may hold; numbers are whole. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/** The signed text: all fields but Sign as compact JSON, keys sorted by their bytes at every depth. */
export function canonicalText(fields: { [key: string]: Json }): string {
  const { Sign: _, ...signed } = fields;
  return write(signed);
}

/** The field Sign of a request: the hex SHA-256 of the signed text and the merchant's key. */
export function sign(fields: { [key: string]: Json }, key: string): string {
  return createHash("sha256").update(canonicalText(fields)).update(key).digest("hex");
}

function write(value: Json): string {
  if (Array.isArray(value)) {
    return `[${value.map(write).join(",")}]`;
  }
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return `{${entries.map(([key, member]) => `${JSON.stringify(key)}:${write(member)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}
