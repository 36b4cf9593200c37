/**
 * Sends one payment, and prints its outcome as one line of JSON.
 *
 * Usage: pay.js ADDRESS... MERCHANT NUMBER AMOUNT < FILE_WITH_CARD_TOKEN
 *
 * The variables TWQR_CA, TWQR_CERTIFICATE, TWQR_KEY and TWQR_API_KEY_FILE name the files of mTLS
 * and of the API key.
 */
import { text } from "node:stream/consumers";
import { CardToken, Client, pos } from "../src/index.js";

const [merchantId = "", merchantTradeNo = "", amount = ""] = process.argv.slice(-3);
const { TWQR_CA, TWQR_CERTIFICATE, TWQR_KEY, TWQR_API_KEY_FILE } = process.env;
const client = new Client(process.argv.slice(2, -3), {
  caFile: TWQR_CA,
  certificateFile: TWQR_CERTIFICATE,
  keyFile: TWQR_KEY,
  apiKeyFile: TWQR_API_KEY_FILE,
});
const token = new CardToken((await text(process.stdin)).trim());
const result = await client.pay({ merchantId, merchantTradeNo, tradeAmount: Number(amount) }, token);
client.close();
console.log(
  JSON.stringify({
    merchant_trade_no: merchantTradeNo,
    order_status: pos.orderStatusToJSON(result.status),
    status_code: result.answer?.statusCode ?? "",
    trade_no: result.answer?.tradeNo ?? "",
    attempts: result.attempts,
    inquiries: result.inquiries,
  }),
);
