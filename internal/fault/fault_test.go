package fault_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
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

func TestWithinNamesThePartThatIsWrong(t *testing.T) {
	for _, c := range []struct{ in, want *fault.Error }{
		{
			fault.New(fault.InvalidRequest, "timeout must be whole.").Field("timeout"),
			fault.New(fault.InvalidRequest, "all[3].timeout must be whole.").Field("all[3].timeout"),
		},
		{
			fault.New(fault.InvalidRequest, "The language is not known.").Field("language").Detail("known", 1),
			fault.New(fault.InvalidRequest, "all[3]: The language is not known.").Field("all[3].language").
				Detail("known", 1),
		},
		{fault.New(fault.InvalidRequest, "Wrong."), fault.New(fault.InvalidRequest, "all[3]: Wrong.").Field("all[3]")},
	} {
		before := c.in.Sentence
		if got := c.in.Within("all[3]"); got.Sentence != c.want.Sentence || !maps.Equal(got.Details, c.want.Details) {
			t.Errorf("got %q %v, want %q %v", got.Sentence, got.Details, c.want.Sentence, c.want.Details)
		}
		if c.in.Sentence != before {
			t.Errorf("the original became %q", c.in.Sentence)
		}
	}
}
