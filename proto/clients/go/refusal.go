package twqr

import (
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const domain = "twqr.pos.v1"

// Refused is the error of a request that was not accepted: it charged, refunded and cancelled
// nothing, and the same request cannot succeed later.
type Refused struct {
	Code codes.Code
	// Reason is a value such as FIELD_VIOLATIONS (proto/errors.md); empty if the router gave none.
	Reason  string
	Message string
}

func (r *Refused) Error() string { return fmt.Sprintf("%s %s: %s", r.Code, r.Reason, r.Message) }

// failure is the content of a call's error.
type failure struct {
	Refused
	// The request was not accepted. Otherwise that is unknown.
	isRefusal bool
	// The same request may succeed later.
	isRetryable bool
	// The delay that the router asks for.
	delay time.Duration
}

func failureOf(err error) *failure {
	answered := status.Convert(err)
	failed := &failure{Refused: Refused{Code: answered.Code(), Message: answered.Message()}, isRetryable: true}
	for _, detail := range answered.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == domain {
				failed.Reason = detail.GetReason()
				failed.isRefusal = detail.GetMetadata()["charged"] == "no"
				failed.isRetryable = detail.GetMetadata()["retryable"] == "true" || !failed.isRefusal
			}
		case *errdetails.RetryInfo:
			failed.delay = detail.GetRetryDelay().AsDuration()
		}
	}
	if !failed.isRefusal && isNotCarriedOut(failed.Code) {
		failed.isRefusal, failed.isRetryable = true, false
	}
	return failed
}

// With these codes the request was not carried out, even if a proxy answered. After every other
// error without details of the router it may have been accepted.
func isNotCarriedOut(code codes.Code) bool {
	switch code {
	case codes.InvalidArgument, codes.AlreadyExists, codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented:
		return true
	default:
		return false
	}
}
