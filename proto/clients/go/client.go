// Package twqr is a client of the payment router twqr: a payment is charged once, even if calls,
// connections or processes fail.
package twqr

import (
	"context"
	_ "embed"
	"errors"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"twqr.example/client/posv1"
)

//go:embed service-config.json
var serviceConfig string

// Options are the bounds of calls; a zero means the default.
type Options struct {
	// Call is the deadline of each call; 14 s by default.
	Call time.Duration
	// Settle is the longest time of a method, including retries and inquiries; 60 s by
	// default. The context's own deadline counts too.
	Settle time.Duration
	// Dial are further options of the connections.
	Dial []grpc.DialOption
}

// Client calls one router at several addresses. Many goroutines may use it at once.
type Client struct {
	connections []*grpc.ClientConn
	credentials Credentials
	options     Options
	turn        atomic.Uint64
}

// New returns a client; connections are made when they are needed. It fails if a file cannot be
// read, or if the API key would leave this machine without TLS.
func New(targets []string, who Credentials, options Options) (*Client, error) {
	if len(targets) == 0 {
		return nil, errors.New("no address is given")
	}
	if options.Call == 0 {
		options.Call = 14 * time.Second
	}
	if options.Settle == 0 {
		options.Settle = 60 * time.Second
	}
	for _, target := range targets {
		if err := who.checkWay(target); err != nil {
			return nil, err
		}
	}
	transport, err := who.transport()
	if err != nil {
		return nil, err
	}
	client := &Client{credentials: who, options: options}
	dial := append([]grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
	}, options.Dial...)
	for _, target := range targets {
		connection, err := grpc.NewClient(target, dial...)
		if err != nil {
			_ = client.Close()
			return nil, err
		}
		client.connections = append(client.connections, connection)
	}
	return client, nil
}

// Close ends the connections.
func (c *Client) Close() error {
	var all []error
	for _, connection := range c.connections {
		all = append(all, connection.Close())
	}
	return errors.Join(all...)
}

// Stub returns the generated stub, for calls that this client does not wrap. It retries
// UNAVAILABLE.
func (c *Client) Stub() posv1.PosServiceClient {
	return posv1.NewPosServiceClient(c.connections[c.turn.Load()%uint64(len(c.connections))])
}

// Pay sends one payment. Leave card_token empty in the request and pass the token separately, so
// that the request may be logged. The error is a *Refused if nothing was accepted and the same
// request cannot succeed.
// After any other error the payment may have been accepted.
func (c *Client) Pay(ctx context.Context, request *posv1.PayRequest, token CardToken) (Result[*posv1.PayResponse], error) {
	if request.GetCardToken() != "" {
		return Result[*posv1.PayResponse]{}, errTokenInRequest
	}
	sent := proto.CloneOf(request)
	sent.CardToken = token.Reveal()
	return settle(ctx, c, order[*posv1.PayResponse]{
		inquiry: inquiry(posv1.InquiryType_INQUIRY_TYPE_PAYMENT, request.GetMerchantId(), request.GetMerchantTradeNo()),
		success: posv1.OrderStatus_ORDER_STATUS_PAID,
		send: func(ctx context.Context) (*posv1.PayResponse, error) {
			return c.Stub().Pay(ctx, sent)
		},
		found: (*posv1.QueryResponse).GetPayment,
	})
}

// Refund sends one refund, which has its own number. Its errors are those of Pay.
func (c *Client) Refund(ctx context.Context, request *posv1.RefundRequest) (Result[*posv1.RefundResponse], error) {
	return settle(ctx, c, order[*posv1.RefundResponse]{
		inquiry: inquiry(posv1.InquiryType_INQUIRY_TYPE_REFUND, request.GetMerchantId(), request.GetMerchantTradeNo()),
		success: posv1.OrderStatus_ORDER_STATUS_REFUND_SUCCEEDED,
		send: func(ctx context.Context) (*posv1.RefundResponse, error) {
			return c.Stub().Refund(ctx, request)
		},
		found: (*posv1.QueryResponse).GetRefund,
	})
}

// Cancel cancels a payment: it sends the cancel again until it has a result. A cancelled payment
// has the status FULLY_REFUNDED, and one that never was FAILED. Its errors are those of Pay.
func (c *Client) Cancel(ctx context.Context, request *posv1.CancelRequest, token CardToken) (Result[*posv1.CancelResponse], error) {
	if request.GetCardToken() != "" {
		return Result[*posv1.CancelResponse]{}, errTokenInRequest
	}
	sent := proto.CloneOf(request)
	sent.CardToken = token.Reveal()
	return settle(ctx, c, order[*posv1.CancelResponse]{
		isCancel: true,
		inquiry:  inquiry(posv1.InquiryType_INQUIRY_TYPE_PAYMENT, request.GetMerchantId(), request.GetMerchantTradeNo()),
		success:  posv1.OrderStatus_ORDER_STATUS_FULLY_REFUNDED,
		send: func(ctx context.Context) (*posv1.CancelResponse, error) {
			return c.Stub().Cancel(ctx, sent)
		},
	})
}

// Query inquires once.
func (c *Client) Query(ctx context.Context, request *posv1.QueryRequest) (*posv1.QueryResponse, error) {
	return call(ctx, c, func(ctx context.Context) (*posv1.QueryResponse, error) {
		return c.Stub().Query(ctx, request)
	})
}

var errTokenInRequest = errors.New("card_token: leave it empty in the request, and give a CardToken")

func inquiry(kind posv1.InquiryType, merchant, number string) *posv1.QueryRequest {
	return &posv1.QueryRequest{InquiryType: kind, MerchantId: merchant, MerchantTradeNo: number}
}

// call makes one call with its deadline and credentials.
func call[A any](ctx context.Context, c *Client, send func(context.Context) (A, error)) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Call)
	defer cancel()
	ctx, err := c.credentials.outgoing(ctx)
	if err != nil {
		var none A
		return none, err
	}
	return send(ctx)
}
