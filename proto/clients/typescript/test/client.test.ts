/** What must be right: deadlines, repeats, inquiries, credentials, and that no token is shown. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";
import { ServerCredentials, status } from "@grpc/grpc-js";
import { CardToken, Client, type Credentials, Refused, canonicalText, pos, sign } from "../src/index.js";
import { NO_ORDER, type Scripts, fails, order, paid, refuses, serving } from "./fake.js";

const TESTDATA = new URL("../../../testdata/", import.meta.url);
const TEXT = "22abcdefghijklmnop";
const TOKEN = new CardToken(TEXT);
const PAYMENT = { merchantId: "M1", merchantTradeNo: "N1", tradeAmount: 100 };
const { ORDER_STATUS_PAID: PAID, ORDER_STATUS_FAILED: FAILED, ORDER_STATUS_IN_PROGRESS: IN_PROGRESS } = pos.OrderStatus;
const { UNKNOWN } = status;

const pay = (client: Client) => client.pay(PAYMENT, TOKEN);
const methods = (calls: { method: string }[]) => calls.map((call) => call.method).join(" ");

const cases: { name: string; scripts: Scripts; methods?: string; ends: pos.OrderStatus; options?: object }[] = [
  {
    name: "an unavailable router gets the same number again",
    scripts: { pay: [fails(status.UNAVAILABLE), fails(status.UNAVAILABLE), paid()] },
    methods: "pay pay pay",
    ends: PAID,
  },
  {
    name: "a call without an answer is inquired about until it is final",
    scripts: { pay: [undefined], query: [order(IN_PROGRESS), fails(status.INTERNAL), order(PAID)] },
    methods: "pay query query query",
    ends: PAID,
    options: { callMs: 300 },
  },
  {
    name: "an answer in progress is inquired about whatever its code",
    scripts: { pay: [paid("555")], query: [order(IN_PROGRESS, "555"), order(FAILED, "983")] },
    methods: "pay query query",
    ends: FAILED,
  },
  {
    name: "a payment that was not accepted is sent again under its number",
    scripts: { pay: [fails(UNKNOWN), paid()], query: [NO_ORDER] },
    methods: "pay query pay",
    ends: PAID,
  },
  {
    name: "a payment after its cancel never charges",
    scripts: { pay: [paid("812")], query: [NO_ORDER] },
    methods: "pay query",
    ends: FAILED,
  },
  {
    name: "a refusal after an unknown attempt says nothing about the first",
    scripts: {
      pay: [fails(UNKNOWN), refuses(status.UNAUTHENTICATED, "KEY_REFUSED", false)],
      query: [NO_ORDER, order(PAID)],
    },
    methods: "pay query pay query",
    ends: PAID,
  },
  {
    name: "what is not known within the bound stays in progress",
    scripts: { pay: [paid("982")], query: [order(IN_PROGRESS)] },
    ends: IN_PROGRESS,
    options: { settleMs: 300 },
  },
];

for (const { name, scripts, methods: expected, ends, options } of cases) {
  test(name, async () => {
    const calls = await serving(
      scripts,
      async (client) => {
        const result = await pay(client);
        assert.deepEqual([result.status, result.isFinal], [ends, ends !== IN_PROGRESS]);
      },
      { options },
    );
    if (expected) {
      assert.equal(methods(calls), expected);
    }
    for (const { method, request, leftMs } of calls) {
      assert.equal(request.merchantTradeNo, "N1");
      assert.equal(request.cardToken, method === "pay" ? TEXT : undefined);
      assert.ok(leftMs < 4_000, `${leftMs}`);
    }
  });
}

test("a refusal that cannot succeed is thrown and not repeated", async () => {
  const calls = await serving({ pay: [refuses(status.INVALID_ARGUMENT, "FIELD_VIOLATIONS", false)] }, (client) =>
    assert.rejects(pay(client), (error) => error instanceof Refused && error.reason === "FIELD_VIOLATIONS"),
  );
  assert.equal(methods(calls), "pay");
});

test("a busy router is left alone for as long as it asks", async () => {
  const busy = refuses(status.RESOURCE_EXHAUSTED, "TOO_BUSY", true, 400);
  const [first, second] = await serving({ pay: [busy, paid()] }, async (client) => {
    assert.equal((await pay(client)).status, PAID);
  });
  assert.ok(first && second && second.atMs - first.atMs >= 400);
});

test("the next address is tried", async () => {
  const scripts = { pay: [paid()], query: [NO_ORDER] };
  await serving(scripts, async (client) => assert.equal((await pay(client)).status, PAID), { before: ["127.0.0.1:1"] });
});

test("a refund is inquired about as a refund", async () => {
  const { ORDER_STATUS_REFUND_SUCCEEDED: orderStatus } = pos.OrderStatus;
  const found = pos.QueryResponse.fromPartial({ statusCode: "000", orderStatus, refund: { statusCode: "000" } });
  const calls = await serving({ refund: [fails(UNKNOWN)], query: [{ answer: found }] }, async (client) => {
    assert.equal((await client.refund({ merchantId: "M1", merchantTradeNo: "R1" })).status, orderStatus);
  });
  assert.equal(calls[1]?.request.inquiryType, pos.InquiryType.INQUIRY_TYPE_REFUND);
});

test("a cancel is sent until it has a result", async () => {
  const answer = (statusCode: string) => ({ answer: pos.CancelResponse.fromPartial({ statusCode }) });
  for (const { script, expected, ends } of [
    { script: [fails(UNKNOWN), answer("000")], expected: "cancel query cancel", ends: pos.OrderStatus.ORDER_STATUS_FULLY_REFUNDED },
    { script: [answer("916")], expected: "cancel", ends: FAILED },
  ]) {
    const calls = await serving({ cancel: script, query: [order(PAID)] }, async (client) => {
      assert.equal((await client.cancel(PAYMENT, TOKEN)).status, ends);
    });
    assert.equal(methods(calls), expected);
  }
});

test("no card token is shown or stored", async () => {
  for (const text of [String(TOKEN), `${TOKEN}`, inspect(TOKEN, { showHidden: true }), inspect({ TOKEN }), JSON.stringify({ TOKEN })]) {
    assert.ok(!text.includes(TEXT), text);
  }
  await serving({ pay: [paid()] }, async (client) => {
    assert.ok(!inspect([await pay(client), client], { depth: 9, showHidden: true }).includes(TEXT));
    await assert.rejects(
      () => client.pay({ ...PAYMENT, cardToken: TEXT } as never, TOKEN),
      (error) => error instanceof TypeError && !error.message.includes(TEXT),
    );
  });
});

test("signatures are those of the router", () => {
  const vectors = JSON.parse(readFileSync(new URL("signatures.json", TESTDATA), "utf8"));
  assert.ok(vectors.length >= 10);
  for (const { name, fields, text, key, sign: expected } of vectors) {
    assert.equal(canonicalText(fields), text, name);
    assert.equal(sign(fields, key), expected, name);
  }
});

test("the service config is that of the contract", () => {
  const read = (url: URL) => readFileSync(url, "utf8");
  const shipped = new URL("../src/generated/service-config.json", import.meta.url);
  assert.equal(read(shipped), read(new URL("../../service-config.json", TESTDATA)));
});

async function inFolder(use: (file: (name: string) => string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "twqr-"));
  try {
    await use((name) => join(folder, name));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("the API key is read for each call", () =>
  inFolder(async (file) => {
    const use = async (client: Client) => {
      for (const key of ["old", "new"]) {
        writeFileSync(file("key"), `${key}\n`);
        await pay(client);
      }
    };
    const calls = await serving({ pay: [paid()] }, use, { credentials: { apiKeyFile: file("key") } });
    assert.deepEqual(calls.map((call) => call.authorization), ["Bearer old", "Bearer new"]);
  }));

test("an API key leaves the machine only by TLS", () =>
  inFolder(async (file) => {
    const refusal = (address: string, credentials: Credentials) => {
      try {
        new Client(["127.0.0.1:1", address], credentials).close();
      } catch (error) {
        return String(error);
      }
      return undefined;
    };
    const apiKey = () => "secret";
    const addresses = JSON.parse(readFileSync(new URL("addresses.json", TESTDATA), "utf8"));
    assert.ok(addresses.length >= 20);
    for (const { address, is_here: isHere } of addresses) {
      for (const key of [{ apiKey }, { apiKeyFile: "/absent" }]) {
        const refused = refusal(address, key);
        assert.equal(refused?.startsWith(`TypeError: ${address} has no TLS`), isHere ? undefined : true, address);
      }
    }
    execFileSync(new URL("certs", TESTDATA).pathname, [file("")]);
    for (const credentials of [{ apiKey, caFile: file("ca.pem") }, { apiKey, apiKeyInPlainText: true }, {}]) {
      assert.equal(refusal("router.example:1", credentials), undefined);
    }
  }));

test("the connection is authenticated on both sides", () =>
  inFolder(async (file) => {
    execFileSync(new URL("certs", TESTDATA).pathname, [file("")]);
    const read = (name: string) => readFileSync(file(name));
    const own = { private_key: read("server.key"), cert_chain: read("server.pem") };
    const server = ServerCredentials.createSsl(read("ca.pem"), [own], true);
    const scripts = { pay: [paid()], query: [NO_ORDER] };
    const caFile = file("ca.pem");
    const full = { caFile, certificateFile: file("client.pem"), keyFile: file("client.key") };
    await serving(scripts, async (client) => assert.equal((await pay(client)).status, PAID), { server, credentials: full });
    const calls = await serving(scripts, async (client) => assert.equal((await pay(client)).status, IN_PROGRESS), {
      server,
      credentials: { caFile },
      options: { settleMs: 1_000 },
    });
    assert.equal(calls.length, 0);
  }));
