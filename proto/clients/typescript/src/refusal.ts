/** The content of an error: whether the request was refused and may be sent again. */
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { type ServiceError, status } from "@grpc/grpc-js";

const DOMAIN = "twqr.pos.v1";

/**
 * With these codes the request was not carried out, even if a proxy answered. After every other
 * error without details of the router it may have been accepted.
 */
const NOT_CARRIED_OUT = new Set([
  status.INVALID_ARGUMENT,
  status.ALREADY_EXISTS,
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
  status.UNIMPLEMENTED,
]);

/** The request was not accepted: it charged, refunded and cancelled nothing. */
export class Refused extends Error {
  override readonly name = "Refused";

  constructor(
    readonly code: status,
    /** The reason, such as FIELD_VIOLATIONS (proto/errors.md); empty if the router gave none. */
    readonly reason: string,
    message: string,
  ) {
    super(`${reason || status[code]}: ${message}`);
  }
}

/** A failed call. */
export interface Failure {
  refused: Refused;
  /** The request was not accepted. Otherwise that is unknown. */
  isRefusal: boolean;
  /** The same request may succeed later. */
  isRetryable: boolean;
  /** The delay that the router asks for. */
  delayMs: number;
}

export function failureOf(error: ServiceError): Failure {
  let reason = "";
  let told = new Map<string, string>();
  let delayMs = 0;
  for (const bytes of error.metadata?.get("grpc-status-details-bin") ?? []) {
    for (const detail of fields(bytes as Buffer, 3)) {
      const type = text(detail, 1);
      const value = bytesOf(detail, 2);
      if (type.endsWith("/google.rpc.ErrorInfo") && text(value, 2) === DOMAIN) {
        reason = text(value, 1);
        told = new Map(fields(value, 3).map((entry) => [text(entry, 1), text(entry, 2)]));
      } else if (type.endsWith("/google.rpc.RetryInfo")) {
        const delay = bytesOf(value, 1);
        delayMs = Number(number(delay, 1)) * 1000 + Number(number(delay, 2)) / 1e6;
      }
    }
  }
  const refused = new Refused(error.code, reason, error.details);
  if (told.get("charged") === "no") {
    return { refused, isRefusal: true, isRetryable: told.get("retryable") === "true", delayMs };
  }
  const isRefusal = NOT_CARRIED_OUT.has(error.code);
  return { refused, isRefusal, isRetryable: !isRefusal, delayMs };
}

/** The values of a field of a message, in order; google.rpc.Status needs no generated code. */
function fields(message: Uint8Array, wanted: number): Uint8Array[] {
  const reader = new BinaryReader(message);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === wanted && type === 2) {
      found.push(reader.bytes());
    } else {
      reader.skip(type);
    }
  }
  return found;
}

function bytesOf(message: Uint8Array, wanted: number): Uint8Array {
  return fields(message, wanted).at(-1) ?? new Uint8Array();
}

function text(message: Uint8Array, wanted: number): string {
  return Buffer.from(bytesOf(message, wanted)).toString();
}

function number(message: Uint8Array, wanted: number): bigint {
  const reader = new BinaryReader(message);
  let found = 0n;
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === wanted && type === 0) {
      found = BigInt(reader.int64());
    } else {
      reader.skip(type);
    }
  }
  return found;
}
