// Sends signed payments in the HTTP form with k6, at a constant rate. Each has a MerchantTradeNo of
// its own. k6 is not among the fetched tools; `make test-tools` checks the types of this file.
//
//   k6 run -e HTTP=10.0.0.1:17080 -e MERCHANT=M1 -e KEY='the key' load-tests/tools/k6.ts
//
// RATE is how many are sent per second (default 200), SECONDS for how long (default 30).
import { check } from "k6";
import crypto from "k6/crypto";
import exec from "k6/execution";
import http from "k6/http";
import type { Options } from "k6/options";

const address = __ENV.HTTP ?? "127.0.0.1:17080";
const merchant = __ENV.MERCHANT ?? "LM0";
const key = __ENV.KEY ?? "";
const rate = Number(__ENV.RATE ?? 200);

export const options: Options = {
  scenarios: {
    payments: {
      executor: "constant-arrival-rate",
      rate,
      timeUnit: "1s",
      duration: `${__ENV.SECONDS ?? 30}s`,
      preAllocatedVUs: rate,
      maxVUs: rate * 15,
    },
  },
  thresholds: { checks: ["rate==1"], dropped_iterations: ["count==0"] },
};

/** A number that no other run uses, so that no payment repeats an earlier one. */
export function setup(): string {
  return `k6-${Date.now()}`;
}

/** The body of a request: its fields by name, and the signature over them and the merchant's key. */
function signed(fields: Record<string, string | number>): string {
  const text = JSON.stringify(fields, Object.keys(fields).sort());
  const sign = crypto.sha256(text + key, "hex");
  return `${text.slice(0, -1)},"Sign":"${sign}"}`;
}

export default function pay(run: string): void {
  const body = signed({
    MerchantID: merchant,
    MerchantTradeNo: `${run}-${exec.scenario.iterationInTest}`,
    CardToken: "22abcdefghijklmnop",
    TradeAmount: 100,
  });
  const answer = http.post(`http://${address}/Load/Payment`, body, {
    headers: { "Content-Type": "application/json" },
    timeout: "15s",
  });
  check(answer, { "the payment is paid": (paid) => paid.json("StatusCode") === "000" });
}
