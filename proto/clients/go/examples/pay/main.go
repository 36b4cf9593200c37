// Command pay sends one payment, and prints its outcome as one line of JSON.
//
// Usage: pay ADDRESS... MERCHANT NUMBER AMOUNT < FILE_WITH_CARD_TOKEN
//
// The variables TWQR_CA, TWQR_CERTIFICATE, TWQR_KEY and TWQR_API_KEY_FILE name the files of mTLS
// and of the API key.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	twqr "twqr.example/client"
	"twqr.example/client/posv1"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "pay:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 5 {
		return fmt.Errorf("usage: pay ADDRESS... MERCHANT NUMBER AMOUNT")
	}
	addresses, order := os.Args[1:len(os.Args)-3], os.Args[len(os.Args)-3:]
	amount, err := strconv.ParseInt(order[2], 10, 64)
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return err
	}
	client, err := twqr.New(addresses, twqr.Credentials{
		CAFile:          os.Getenv("TWQR_CA"),
		CertificateFile: os.Getenv("TWQR_CERTIFICATE"),
		KeyFile:         os.Getenv("TWQR_KEY"),
		APIKeyFile:      os.Getenv("TWQR_API_KEY_FILE"),
	}, twqr.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	request := &posv1.PayRequest{MerchantId: order[0], MerchantTradeNo: order[1], TradeAmount: amount}
	result, err := client.Pay(context.Background(), request, twqr.NewCardToken(strings.TrimSpace(line)))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"merchant_trade_no": order[1],
		"order_status":      result.Status.String(),
		"status_code":       result.Answer.GetStatusCode(),
		"trade_no":          result.Answer.GetTradeNo(),
		"attempts":          result.Attempts,
		"inquiries":         result.Inquiries,
	})
}
