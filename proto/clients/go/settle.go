package twqr

import (
	"context"
	"math/rand/v2"
	"time"

	"twqr.example/client/posv1"
)

const (
	success     = "000"
	cancelled   = "812"
	noSuchOrder = "916"

	pauseFirst    = 200 * time.Millisecond
	pauseMax      = 2 * time.Second
	askedPauseMax = 30 * time.Second
)

const inProgress = posv1.OrderStatus_ORDER_STATUS_IN_PROGRESS

type answer interface {
	comparable
	GetStatusCode() string
}

// Result is the outcome of an order.
type Result[A any] struct {
	// Status is IN_PROGRESS if it is not known within the bound: call again with the same request.
	Status posv1.OrderStatus
	// Answer is the newest answer about the order; nil if there was none.
	Answer              A
	Attempts, Inquiries int
}

// IsFinal is whether the result is known.
func (r Result[A]) IsFinal() bool { return r.Status != inProgress }

// order is the request of an order, and the inquiry about it.
type order[A answer] struct {
	isCancel bool
	inquiry  *posv1.QueryRequest
	success  posv1.OrderStatus
	send     func(context.Context) (A, error)
	// found is the order in the answer of an inquiry.
	found func(*posv1.QueryResponse) A
}

// settling is one order until it has a result.
type settling[A answer] struct {
	order[A]
	client *Client
	pause  time.Duration
	result Result[A]
}

func settle[A answer](parent context.Context, c *Client, order order[A]) (Result[A], error) {
	ctx, cancel := context.WithTimeout(parent, c.options.Settle)
	defer cancel()
	s := &settling[A]{order: order, client: c, pause: pauseFirst}
	status, err := s.run(ctx)
	s.result.Status = status
	return s.result, err
}

func (s *settling[A]) run(ctx context.Context) (posv1.OrderStatus, error) {
	mayBeAccepted := false
	for {
		s.result.Attempts++
		answered, failed := try(ctx, s.client, s.send)
		if failed != nil {
			if failed.isRefusal && !failed.isRetryable && !mayBeAccepted {
				return inProgress, &failed.Refused
			}
			mayBeAccepted = mayBeAccepted || !failed.isRefusal
			if !s.wait(ctx, failed.delay) {
				return inProgress, nil
			}
			if !mayBeAccepted {
				continue
			}
		} else {
			mayBeAccepted = true
			s.result.Answer = answered
			switch {
			case answered.GetStatusCode() == success:
				return s.success, nil
			case s.isCancel && answered.GetStatusCode() == noSuchOrder:
				return posv1.OrderStatus_ORDER_STATUS_FAILED, nil
			}
		}
		status, isKnown := s.inquire(ctx, failed == nil)
		// A cancel without an answer may not have arrived, whatever the payment's state is.
		mustRepeat := s.isCancel && failed != nil && status != s.success
		if isKnown && !mustRepeat {
			return status, nil
		}
		if !s.wait(ctx, 0) {
			return inProgress, nil
		}
	}
}

// inquire asks until the state is final or the bound is reached. It is not known if no order was
// accepted, which may still happen.
func (s *settling[A]) inquire(ctx context.Context, isAnswered bool) (status posv1.OrderStatus, isKnown bool) {
	for {
		s.result.Inquiries++
		query := func(ctx context.Context) (*posv1.QueryResponse, error) {
			return s.client.Stub().Query(ctx, s.inquiry)
		}
		response, failed := try(ctx, s.client, query)
		var delay time.Duration
		switch {
		case failed != nil:
			delay = failed.delay
		case response.GetStatusCode() == noSuchOrder:
			isCancelled := isAnswered && s.result.Answer.GetStatusCode() == cancelled
			return posv1.OrderStatus_ORDER_STATUS_FAILED, isCancelled
		case response.OrderStatus != nil:
			if s.found != nil {
				s.result.Answer = s.found(response)
			}
			if response.GetOrderStatus() != inProgress {
				return response.GetOrderStatus(), true
			}
		}
		if !s.wait(ctx, delay) {
			return inProgress, true
		}
	}
}

// wait pauses before the next call; it returns false if the bound is reached first.
func (s *settling[A]) wait(ctx context.Context, asked time.Duration) bool {
	own := time.Duration(float64(s.pause) * (0.5 + rand.Float64()/2))
	s.pause = min(s.pause*2, pauseMax)
	select {
	case <-time.After(min(asked, askedPauseMax) + own):
		return true
	case <-ctx.Done():
		return false
	}
}

// try makes one call. After a failure the next one goes to the next address.
func try[A any](ctx context.Context, c *Client, send func(context.Context) (A, error)) (A, *failure) {
	answered, err := call(ctx, c, send)
	if err != nil {
		c.turn.Add(1)
		return answered, failureOf(err)
	}
	return answered, nil
}
