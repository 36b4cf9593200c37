"""Sends one payment, and prints its outcome as one line of JSON.

Usage: pay.py ADDRESS... MERCHANT NUMBER AMOUNT < FILE_WITH_CARD_TOKEN
The variables TWQR_CA, TWQR_CERTIFICATE, TWQR_KEY and TWQR_API_KEY_FILE name the files of mTLS and
of the API key.
"""

import json
import os
import sys

from twqr import CardToken, Client, Credentials
from twqr.pos.v1 import pos_pb2


def main() -> None:
    *addresses, merchant, number, amount = sys.argv[1:]
    token = CardToken(sys.stdin.readline().strip())
    request = pos_pb2.PayRequest(
        merchant_id=merchant, merchant_trade_no=number, trade_amount=int(amount)
    )
    credentials = Credentials(
        ca_file=os.environ.get("TWQR_CA"),
        certificate_file=os.environ.get("TWQR_CERTIFICATE"),
        key_file=os.environ.get("TWQR_KEY"),
        api_key_file=os.environ.get("TWQR_API_KEY_FILE"),
    )
    with Client(*addresses, credentials=credentials) as client:
        result = client.pay(request, token)
    line = {
        "merchant_trade_no": number,
        "order_status": pos_pb2.OrderStatus.Name(result.status),
        "status_code": result.answer.status_code if result.answer else "",
        "trade_no": result.answer.trade_no if result.answer else "",
        "attempts": result.attempts,
        "inquiries": result.inquiries,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
