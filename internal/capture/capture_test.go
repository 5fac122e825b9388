package capture_test

import (
	"testing"

	"boomerang/internal/capture"
)

func TestABufferKeepsItsLimitAndCountsAll(t *testing.T) {
	b := capture.New(5)
	for _, s := range []string{"abc", "def", "ghi"} {
		if n, err := b.Write([]byte(s)); n != 3 || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	if o := b.Unproven(); string(o.Head) != "abcde" || o.Bytes != 9 {
		t.Errorf("kept %q of %d", o.Head, o.Bytes)
	}
}

func TestWhatWasHandedOutStaysTrue(t *testing.T) {
	b := capture.New(1 << 20)
	write(b, "first ")
	early, grown := b.Bytes()
	write(b, "second")
	select {
	case <-grown:
	default:
		t.Error("nobody was told that more has come")
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
	b := capture.New(1 << 20)
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

func TestOutputIsDividedWhereTheGapIs(t *testing.T) {
	b := capture.New(1 << 20)
	write(b, "headtail")
	o := b.Output(1008, 4)
	if string(o.Head) != "head" || string(o.Tail) != "tail" || o.LeftOut() != 1000 {
		t.Errorf("got %q, %q, %d left out", o.Head, o.Tail, o.LeftOut())
	}
}

func write(b *capture.Buffer, s string) { _, _ = b.Write([]byte(s)) }
