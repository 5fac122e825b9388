package capture_test

import (
	"strings"
	"testing"

	"boomerang/internal/capture"
)

func TestABufferKeepsItsLimitAndCountsAll(t *testing.T) {
	b := capture.New(5, 5)
	for _, s := range []string{"abc", "def", "ghi"} {
		if n, err := b.Write([]byte(s)); n != 3 || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	if o := b.Unproven(); string(o.Head) != "abcde" || o.Bytes != 9 {
		t.Errorf("kept %q of %d", o.Head, o.Bytes)
	}
}

func TestABufferGrowsInFewSteps(t *testing.T) {
	const usual = 1<<20 + 64<<10
	b := capture.New(usual, 2*usual)
	places := map[*byte]bool{}
	for range usual >> 15 {
		write(b, strings.Repeat("x", 1<<15))
		kept, _ := b.Bytes()
		places[&kept[0]] = true
	}
	if len(places) > 5 {
		t.Errorf("it was copied %d times on its way to the usual size", len(places)-1)
	}
	write(b, strings.Repeat("y", 2*usual))
	if o := b.Unproven(); len(o.Head) != 2*usual || o.Bytes != 3*usual {
		t.Errorf("kept %d of %d", len(o.Head), o.Bytes)
	}
}

func TestReturnedBytesNeverChange(t *testing.T) {
	b := capture.New(1<<20, 1<<20)
	write(b, "first ")
	early, grown := b.Bytes()
	write(b, "second")
	select {
	case <-grown:
	default:
		t.Error("the channel was not closed when more came")
	}
	if string(early) != "first " {
		t.Errorf("an early reader now sees %q", early)
	}
	_ = append(early, "vandal"...)
	if now, _ := b.Bytes(); string(now) != "first second" {
		t.Errorf("kept %q", now)
	}
}

func TestARewoundStreamRepeatsNothing(t *testing.T) {
	b := capture.New(1<<20, 1<<20)
	write(b, "one two ")
	b.Rewind()
	_, grown := b.Bytes()
	write(b, "one ")
	select {
	case <-grown:
		t.Error("a repeated byte was announced as new")
	default:
	}
	write(b, "two three")
	b.Rewind()
	write(b, "one")
	b.Rewind()
	write(b, "one two three!")
	if o := b.Unproven(); string(o.Head) != "one two three!" || o.Bytes != 14 {
		t.Errorf("kept %q of %d", o.Head, o.Bytes)
	}
}

func TestOutputIsSplitAtTheGap(t *testing.T) {
	b := capture.New(1<<20, 1<<20)
	write(b, "headtail")
	o := b.Output(1008, 4)
	if string(o.Head) != "head" || string(o.Tail) != "tail" || o.LeftOut() != 1000 {
		t.Errorf("got %q, %q, %d left out", o.Head, o.Tail, o.LeftOut())
	}
}

func write(b *capture.Buffer, s string) { _, _ = b.Write([]byte(s)) }
