package dispatch

import "testing"

func TestNoMoreSlotsAreTakenThanThereAre(t *testing.T) {
	s := newSlots(2)
	s.occupy()
	s.occupy()
	s.occupy() // from when there were more slots
	s.free()
	if s.take() {
		t.Error("a third slot of two was taken")
	}
	s.free()
	if !s.take() || s.take() {
		t.Error("want the one that is free to be taken, and no other")
	}
}

func TestSlotsFollowTheEngine(t *testing.T) {
	const gib, need = 1 << 30, 512 << 20
	for _, c := range []struct {
		cpus   int
		memory int64
		want   int
	}{{2, 24 * gib, 4}, {64, 8 * gib, 12}, {1, gib / 4, 1}, {16, 256 * gib, 32}} {
		if got := SlotsFor(c.cpus, c.memory, need); got != c.want {
			t.Errorf("%d CPUs, %d GiB: %d slots, want %d", c.cpus, c.memory/gib, got, c.want)
		}
	}
}

func TestTwoSlotsThatBecomeFreeAtOnceWakeTwo(t *testing.T) {
	s := newSlots(2)
	for range 2 {
		if !s.take() {
			t.Fatal("there are no two slots")
		}
	}
	select {
	case <-s.freed: // of the first take: there was room for another
	default:
	}
	s.free()
	s.free()
	for i := range 2 {
		select {
		case <-s.freed:
		default:
			t.Fatalf("waiter %d of 2 is not woken", i+1)
		}
		if !s.take() {
			t.Fatalf("waiter %d of 2 finds no slot", i+1)
		}
	}
}
