/** A router that answers by a script, for tests on a real connection to it. */
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";
import { Client, type Credentials, type Options, pos } from "../src/index.js";

export interface Received {
  method: string;
  request: { merchantTradeNo: string; cardToken?: string; inquiryType?: pos.InquiryType };
  leftMs: number;
  authorization: string;
  atMs: number;
}

/** The answer to one call; undefined: none. */
export type Step = { answer: object } | { code: status; metadata?: Metadata } | undefined;
export type Scripts = Partial<Record<"pay" | "refund" | "cancel" | "query", Step[]>>;

/** Starts a fake router, lets `use` call it by a client, and returns the calls that it received. */
export async function serving(
  scripts: Scripts,
  use: (client: Client, address: string) => Promise<void>,
  {
    credentials = {},
    options = {},
    server = ServerCredentials.createInsecure(),
    before = [],
  }: { credentials?: Credentials; options?: Options; server?: ServerCredentials; before?: string[] } = {},
): Promise<Received[]> {
  const calls: Received[] = [];
  const next =
    (method: keyof Scripts) => (call: ServerUnaryCall<Received["request"], never>, done: sendUnaryData<never>) => {
      const deadline = call.getDeadline();
      const leftMs = Number(deadline) - Date.now();
      const authorization = call.metadata.get("authorization").join();
      calls.push({ method, request: call.request, leftMs, authorization, atMs: performance.now() });
      const script = scripts[method] ?? [];
      const step = script.length > 1 ? script.shift() : script[0];
      if (step && "answer" in step) {
        done(null, step.answer as never);
      } else if (step) {
        done({ code: step.code, details: "failed", metadata: step.metadata ?? new Metadata() });
      }
    };
  const router = new Server();
  const service = { pay: next("pay"), refund: next("refund"), cancel: next("cancel"), query: next("query") };
  router.addService(pos.PosServiceService, service);
  const port = await new Promise<number>((resolve, reject) =>
    router.bindAsync("127.0.0.1:0", server, (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  const address = `127.0.0.1:${port}`;
  const client = new Client([...before, address], credentials, { callMs: 2_000, settleMs: 6_000, ...options });
  try {
    await use(client, address);
  } finally {
    client.close();
    router.forceShutdown();
  }
  return calls;
}

/** An error that says nothing of the payment. */
export function fails(code: status): Step {
  return { code };
}

/** A refusal with ErrorInfo and RetryInfo. */
export function refuses(code: status, reason: string, retryable: boolean, delayMs = 0): Step {
  const entry = (key: string, value: string) => new BinaryWriter().uint32(10).string(key).uint32(18).string(value).finish();
  const info = new BinaryWriter().uint32(10).string(reason).uint32(18).string("twqr.pos.v1");
  info.uint32(26).bytes(entry("charged", "no")).uint32(26).bytes(entry("retryable", String(retryable)));
  const duration = new BinaryWriter().uint32(16).int32(delayMs * 1e6).finish();
  const retry = new BinaryWriter().uint32(10).bytes(duration).finish();
  const any = (type: string, value: Uint8Array) =>
    new BinaryWriter().uint32(10).string(`type.googleapis.com/google.rpc.${type}`).uint32(18).bytes(value).finish();
  const answered = new BinaryWriter().uint32(8).int32(code);
  answered.uint32(26).bytes(any("ErrorInfo", info.finish())).uint32(26).bytes(any("RetryInfo", retry));
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from(answered.finish()));
  return { code, metadata };
}

export function paid(statusCode = "000"): Step {
  return { answer: pos.PayResponse.fromPartial({ statusCode, tradeNo: "T".repeat(25) }) };
}

export function order(orderStatus: pos.OrderStatus, statusCode = "000"): Step {
  return { answer: pos.QueryResponse.fromPartial({ statusCode: "000", orderStatus, payment: { statusCode } }) };
}

export const NO_ORDER: Step = { answer: pos.QueryResponse.fromPartial({ statusCode: "916" }) };
