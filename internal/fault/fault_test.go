package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"boomerang/internal/fault"
)

func TestOfFindsTheFaultInAChain(t *testing.T) {
	err := fmt.Errorf("admit: %w", fault.New(fault.QueueFull, "The queue is full.").Because(io.EOF))
	f := fault.Of(err)
	if f.Code != fault.QueueFull || f.Sentence != "The queue is full." {
		t.Errorf("found %v", f)
	}
	if !errors.Is(err, io.EOF) {
		t.Error("the private cause is lost")
	}
}

func TestAnErrorThatIsNoFaultTellsNothing(t *testing.T) {
	f := fault.Of(errors.New("open /secret/path: no such file"))
	if f.Code != fault.InternalError {
		t.Errorf("code %s", f.Code)
	}
	if want := "Something went wrong on our side. The request id finds it in the log."; f.Sentence != want {
		t.Errorf("sentence %q", f.Sentence)
	}
}

func TestAddingADetailLeavesTheOriginalAlone(t *testing.T) {
	base := fault.New(fault.InvalidRequest, "Wrong.")
	a, b := base.Field("a"), base.Field("b").Detail("key", "k")
	if base.Details != nil || a.Details["field"] != "a" || b.Details["field"] != "b" || len(a.Details) != 1 {
		t.Errorf("base %v, a %v, b %v", base.Details, a.Details, b.Details)
	}
}

func TestEveryCodeHasAKind(t *testing.T) {
	for code, kind := range map[fault.Code]fault.Kind{
		fault.InvalidJSON: fault.Invalid, fault.MissingParameter: fault.Invalid, fault.InvalidRequest: fault.Invalid,
		fault.UnsupportedLanguage: fault.Invalid, fault.CallbackNotAllowed: fault.Invalid,
		fault.AuthenticationRequired: fault.Unauthenticated, fault.InvalidToken: fault.Unauthenticated,
		fault.AccessForbidden: fault.Forbidden, fault.ExecutionNotFound: fault.NotFound, fault.ProcessNotFound: fault.NotFound,
		fault.RouteNotFound: fault.NotFound, fault.MethodNotAllowed: fault.NotAllowed, fault.Contradiction: fault.Conflict,
		fault.PayloadTooLarge: fault.TooLarge, fault.UnsupportedMediaType: fault.Unsupported, fault.RangeNotSatisfiable: fault.OutOfRange,
		fault.RateLimitExceeded: fault.Busy, fault.QueueFull: fault.Busy,
		fault.ServiceUnavailable: fault.Unavailable, fault.InternalError: fault.Internal, "NONSENSE": fault.Internal,
	} {
		if got := code.Kind(); got != kind {
			t.Errorf("%s is %s, want %s", code, got, kind)
		}
	}
}
