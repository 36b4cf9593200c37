package twqr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"twqr.example/client/posv1"
)

const (
	paid      = posv1.OrderStatus_ORDER_STATUS_PAID
	notPaid   = posv1.OrderStatus_ORDER_STATUS_FAILED
	secret    = "22abcdefghijklmnop"
	testdata  = "../testdata"
	unknown   = codes.Unknown
	quickCall = 2 * time.Second
)

// call is one call that the fake router has received.
type received struct {
	method, number, token, authorization string
	inquiryType                          posv1.InquiryType
	left                                 time.Duration
	at                                   time.Time
}

// step is the answer to one call.
type step func(context.Context) (any, error)

// fake answers each method by its script; the last step is repeated.
type fake struct {
	posv1.UnimplementedPosServiceServer
	lock    sync.Mutex
	scripts map[string][]step
	calls   []received
}

func (f *fake) next(ctx context.Context, call received) (any, error) {
	f.lock.Lock()
	call.at = time.Now()
	if deadline, has := ctx.Deadline(); has {
		call.left = time.Until(deadline)
	}
	sent, _ := metadata.FromIncomingContext(ctx)
	call.authorization = strings.Join(sent.Get("authorization"), ",")
	f.calls = append(f.calls, call)
	script := f.scripts[call.method]
	if len(script) > 1 {
		f.scripts[call.method] = script[1:]
	}
	f.lock.Unlock()
	return script[0](ctx)
}

func answerOf[A any](value any, err error) (A, error) {
	answered, _ := value.(A)
	return answered, err
}

func (f *fake) Pay(ctx context.Context, r *posv1.PayRequest) (*posv1.PayResponse, error) {
	return answerOf[*posv1.PayResponse](f.next(ctx, received{method: "Pay", number: r.GetMerchantTradeNo(), token: r.GetCardToken()}))
}

func (f *fake) Refund(ctx context.Context, r *posv1.RefundRequest) (*posv1.RefundResponse, error) {
	return answerOf[*posv1.RefundResponse](f.next(ctx, received{method: "Refund", number: r.GetMerchantTradeNo()}))
}

func (f *fake) Cancel(ctx context.Context, r *posv1.CancelRequest) (*posv1.CancelResponse, error) {
	return answerOf[*posv1.CancelResponse](f.next(ctx, received{method: "Cancel", number: r.GetMerchantTradeNo()}))
}

func (f *fake) Query(ctx context.Context, r *posv1.QueryRequest) (*posv1.QueryResponse, error) {
	return answerOf[*posv1.QueryResponse](f.next(ctx, received{method: "Query", number: r.GetMerchantTradeNo(), inquiryType: r.GetInquiryType()}))
}

func (f *fake) methods() string {
	f.lock.Lock()
	defer f.lock.Unlock()
	var all []string
	for _, call := range f.calls {
		all = append(all, call.method)
	}
	return strings.Join(all, " ")
}

func answers(value any) step { return func(context.Context) (any, error) { return value, nil } }

// fails ends a call with an error that says nothing of the payment.
func fails(code codes.Code) step {
	return func(context.Context) (any, error) { return nil, status.Error(code, "failed") }
}

func refuses(code codes.Code, reason string, retryable bool, delay time.Duration) step {
	return func(context.Context) (any, error) {
		told := map[string]string{"charged": "no", "retryable": fmt.Sprint(retryable)}
		answered, err := status.New(code, reason).WithDetails(
			&errdetails.ErrorInfo{Reason: reason, Domain: domain, Metadata: told},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
		return nil, errors.Join(err, answered.Err())
	}
}

func silent(ctx context.Context) (any, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func payResponse(code string) *posv1.PayResponse {
	return &posv1.PayResponse{StatusCode: code, TradeNo: strings.Repeat("T", 25)}
}

func state(status posv1.OrderStatus, code string) step {
	return answers(&posv1.QueryResponse{StatusCode: success, OrderStatus: &status, Payment: payResponse(code)})
}

var noOrder = answers(&posv1.QueryResponse{StatusCode: noSuchOrder})

type scripts = map[string][]step

// serve starts a fake router, and returns it with a client of it.
func serve(t *testing.T, scripts scripts, who Credentials, options Options, server ...grpc.ServerOption) (*fake, *Client) {
	t.Helper()
	router := &fake{scripts: scripts}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serving := grpc.NewServer(server...)
	posv1.RegisterPosServiceServer(serving, router)
	go func() { _ = serving.Serve(listener) }()
	t.Cleanup(serving.Stop)
	if options.Call == 0 {
		options.Call = quickCall
	}
	if options.Settle == 0 {
		options.Settle = 6 * time.Second
	}
	client, err := New([]string{listener.Addr().String()}, who, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return router, client
}

func payment() *posv1.PayRequest {
	return &posv1.PayRequest{MerchantId: "M1", MerchantTradeNo: "N1", TradeAmount: 100}
}

func pay(client *Client) (Result[*posv1.PayResponse], error) {
	return client.Pay(context.Background(), payment(), NewCardToken(secret))
}

func TestPayments(t *testing.T) {
	refused := refuses(codes.Unauthenticated, "KEY_REFUSED", false, 0)
	for _, test := range []struct {
		name    string
		scripts scripts
		options Options
		methods string
		status  posv1.OrderStatus
	}{
		{"an unavailable router gets the same number again",
			scripts{"Pay": {fails(codes.Unavailable), fails(codes.Unavailable), answers(payResponse("000"))}},
			Options{}, "Pay Pay Pay", paid},
		{"a call without an answer is inquired about until it is final",
			scripts{"Pay": {silent}, "Query": {state(inProgress, "982"), fails(codes.Internal), state(paid, "000")}},
			Options{Call: 300 * time.Millisecond}, "Pay Query Query Query", paid},
		{"an answer in progress is inquired about whatever its code",
			scripts{"Pay": {answers(payResponse("555"))}, "Query": {state(inProgress, "555"), state(notPaid, "983")}},
			Options{}, "Pay Query Query", notPaid},
		{"a payment that was not accepted is sent again under its number",
			scripts{"Pay": {fails(unknown), answers(payResponse("000"))}, "Query": {noOrder}},
			Options{}, "Pay Query Pay", paid},
		{"a payment after its cancel never charges",
			scripts{"Pay": {answers(payResponse("812"))}, "Query": {noOrder}},
			Options{}, "Pay Query", notPaid},
		{"a refusal after an unknown attempt says nothing about the first",
			scripts{"Pay": {fails(unknown), refused}, "Query": {noOrder, state(paid, "000")}},
			Options{}, "Pay Query Pay Query", paid},
		{"what is not known within the bound stays in progress",
			scripts{"Pay": {answers(payResponse("982"))}, "Query": {state(inProgress, "982")}},
			Options{Settle: 250 * time.Millisecond}, "", inProgress},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			router, client := serve(t, test.scripts, Credentials{}, test.options)
			result, err := pay(client)
			if err != nil || result.Status != test.status || result.IsFinal() != (test.status != inProgress) {
				t.Fatal(result, err)
			}
			if test.methods != "" && router.methods() != test.methods {
				t.Fatal(router.methods())
			}
			for _, call := range router.calls {
				if call.number != "N1" || call.left <= 0 || call.left > client.options.Call {
					t.Fatal(call.number, call.left)
				}
				if call.method == "Pay" && call.token != secret {
					t.Fatal("another card token was sent")
				}
			}
		})
	}
}

func TestARefusalThatCannotSucceedIsReturnedAndNotRepeated(t *testing.T) {
	router, client := serve(t, scripts{"Pay": {refuses(codes.InvalidArgument, "FIELD_VIOLATIONS", false, 0)}}, Credentials{}, Options{})
	_, err := pay(client)
	var refused *Refused
	if !errors.As(err, &refused) || refused.Reason != "FIELD_VIOLATIONS" || router.methods() != "Pay" {
		t.Fatal(err, router.methods())
	}
}

func TestABusyRouterIsLeftAloneForAsLongAsItAsks(t *testing.T) {
	busy := refuses(codes.ResourceExhausted, "TOO_BUSY", true, 400*time.Millisecond)
	router, client := serve(t, scripts{"Pay": {busy, answers(payResponse("000"))}}, Credentials{}, Options{})
	result, err := pay(client)
	if err != nil || result.Status != paid || router.methods() != "Pay Pay" {
		t.Fatal(result, err, router.methods())
	}
	if pause := router.calls[1].at.Sub(router.calls[0].at); pause < 400*time.Millisecond {
		t.Fatal(pause)
	}
}

func TestTheNextAddressIsTried(t *testing.T) {
	_, client := serve(t, scripts{"Pay": {answers(payResponse("000"))}, "Query": {noOrder}}, Credentials{}, Options{})
	broken, err := New([]string{"127.0.0.1:1"}, Credentials{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	client.connections = slices.Insert(client.connections, 0, broken.connections[0])
	if result, err := pay(client); err != nil || result.Status != paid {
		t.Fatal(result, err)
	}
}

func TestARefundIsInquiredAboutAsARefund(t *testing.T) {
	succeeded := posv1.OrderStatus_ORDER_STATUS_REFUND_SUCCEEDED
	found := &posv1.QueryResponse{StatusCode: success, OrderStatus: &succeeded, Refund: &posv1.RefundResponse{StatusCode: success}}
	router, client := serve(t, scripts{"Refund": {fails(unknown)}, "Query": {answers(found)}}, Credentials{}, Options{})
	result, err := client.Refund(context.Background(), &posv1.RefundRequest{MerchantId: "M1", MerchantTradeNo: "R1"})
	if err != nil || result.Status != succeeded || router.calls[1].inquiryType != posv1.InquiryType_INQUIRY_TYPE_REFUND {
		t.Fatal(result, err)
	}
}

func TestACancelIsSentUntilItHasAResult(t *testing.T) {
	none := &posv1.CancelResponse{StatusCode: noSuchOrder}
	done := &posv1.CancelResponse{StatusCode: success}
	for _, test := range []struct {
		script  []step
		methods string
		status  posv1.OrderStatus
	}{
		{[]step{fails(unknown), answers(done)}, "Cancel Query Cancel", posv1.OrderStatus_ORDER_STATUS_FULLY_REFUNDED},
		{[]step{answers(none)}, "Cancel", notPaid},
	} {
		router, client := serve(t, scripts{"Cancel": test.script, "Query": {state(paid, "000")}}, Credentials{}, Options{})
		request := &posv1.CancelRequest{MerchantId: "M1", MerchantTradeNo: "N1", TradeAmount: 100}
		result, err := client.Cancel(context.Background(), request, NewCardToken(secret))
		if err != nil || result.Status != test.status || router.methods() != test.methods {
			t.Fatal(result, err, router.methods())
		}
	}
}

func TestNoCardTokenIsShownOrStored(t *testing.T) {
	token := NewCardToken(secret)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{token, &token, struct{ Token CardToken }{token}} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
				t.Error(verb)
			}
		}
	}
	if text, err := json.Marshal(token); err == nil {
		t.Error(len(text))
	}
	_, client := serve(t, scripts{"Pay": {answers(payResponse("000"))}}, Credentials{}, Options{})
	request := payment()
	result, err := client.Pay(context.Background(), request, token)
	if err != nil || strings.Contains(fmt.Sprintf("%v %+v", request, result), secret) {
		t.Error(err)
	}
	request.CardToken = secret
	if _, err := client.Pay(context.Background(), request, token); err == nil || strings.Contains(err.Error(), secret) {
		t.Error("a token in the request must be refused")
	}
}

func TestSignaturesAreThoseOfTheRouter(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testdata, "signatures.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name, Text, Key, Sign string
		Fields                map[string]any
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&vectors); err != nil || len(vectors) == 0 {
		t.Fatal(err)
	}
	for _, vector := range vectors {
		signed, err := CanonicalText(vector.Fields)
		if err != nil || signed != vector.Text {
			t.Errorf("%s: %q, %v", vector.Name, signed, err)
		}
		if sign, err := Sign(vector.Fields, vector.Key); err != nil || sign != vector.Sign {
			t.Errorf("%s: %s, %v", vector.Name, sign, err)
		}
	}
}

func TestTheServiceConfigIsThatOfTheContract(t *testing.T) {
	text, err := os.ReadFile("../../service-config.json")
	if err != nil || string(text) != serviceConfig {
		t.Fatal("generate the client again", err)
	}
}

func TestTheAPIKeyIsReadForEachCall(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	router, client := serve(t, scripts{"Pay": {answers(payResponse("000"))}}, Credentials{APIKeyFile: file}, Options{})
	for n, key := range []string{"old", "new"} {
		if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := pay(client); err != nil {
			t.Fatal(err)
		}
		if sent := router.calls[n].authorization; sent != "Bearer "+key {
			t.Fatal(sent)
		}
	}
}

func TestAnAPIKeyLeavesTheMachineOnlyByTLS(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testdata, "addresses.json"))
	if err != nil {
		t.Fatal(err)
	}
	var addresses []struct {
		Address string
		IsHere  bool `json:"is_here"`
	}
	if err := json.Unmarshal(text, &addresses); err != nil || len(addresses) < 20 {
		t.Fatal(err, len(addresses))
	}
	key := func() (string, error) { return "secret", nil }
	for _, test := range addresses {
		for _, who := range []Credentials{{APIKey: key}, {APIKeyFile: "/absent"}} {
			_, err := New([]string{"127.0.0.1:1", test.Address}, who, Options{})
			isRefused := err != nil && strings.HasPrefix(err.Error(), test.Address+" has no TLS")
			if isRefused == test.IsHere || (test.IsHere && err != nil) {
				t.Errorf("%s: %v", test.Address, err)
			}
		}
	}
	folder := t.TempDir()
	if said, err := exec.Command(filepath.Join(testdata, "certs"), folder).CombinedOutput(); err != nil {
		t.Fatal(string(said), err)
	}
	for _, who := range []Credentials{
		{APIKey: key, CAFile: filepath.Join(folder, "ca.pem")}, {APIKey: key, APIKeyInPlainText: true}, {},
	} {
		if _, err := New([]string{"router.example:1"}, who, Options{}); err != nil {
			t.Error(err)
		}
	}
}

func TestTheConnectionIsAuthenticatedOnBothSides(t *testing.T) {
	folder := t.TempDir()
	if said, err := exec.Command(filepath.Join(testdata, "certs"), folder).CombinedOutput(); err != nil {
		t.Fatal(string(said), err)
	}
	in := func(name string) string { return filepath.Join(folder, name) }
	own, err := tls.LoadX509KeyPair(in("server.pem"), in("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(in("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	callers := x509.NewCertPool()
	callers.AppendCertsFromPEM(text)
	server := grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: callers}))
	script := scripts{"Pay": {answers(payResponse("000"))}, "Query": {noOrder}}
	full := Credentials{CAFile: in("ca.pem"), CertificateFile: in("client.pem"), KeyFile: in("client.key")}
	_, client := serve(t, script, full, Options{}, server)
	if result, err := pay(client); err != nil || result.Status != paid {
		t.Fatal(result, err)
	}
	router, client := serve(t, script, Credentials{CAFile: in("ca.pem")}, Options{Settle: time.Second}, server)
	if result, err := pay(client); err != nil || result.Status != inProgress || router.methods() != "" {
		t.Fatal(result, err, router.methods())
	}
}
