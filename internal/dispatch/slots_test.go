package dispatch

import "testing"

// acquired tells whether an ordinary slot was free.
func acquired(s *slots) bool {
	_, ok := s.acquire(false)
	return ok
}

func TestSlotsAreBounded(t *testing.T) {
	s := newSlots(2, 1)
	s.forceAcquire()
	s.forceAcquire()
	s.forceAcquire() // as if an earlier process had more slots
	s.release()
	if acquired(s) {
		t.Error("the second slot of two was free with two taken")
	}
	s.release()
	if !acquired(s) || acquired(s) {
		t.Error("want exactly one free slot")
	}
}

func TestTheNumberOfSlotsFollowsTheEngine(t *testing.T) {
	const gib, need = 1 << 30, 512 << 20
	for _, c := range []struct {
		cpus   int
		memory int64
		want   int
	}{{2, 24 * gib, 4}, {64, 8 * gib, 9}, {1, gib / 4, 1}, {16, 256 * gib, 32}} {
		if got := SlotsFor(c.cpus, c.memory, need); got != c.want {
			t.Errorf("%d CPUs, %d GiB: %d slots, want %d", c.cpus, c.memory/gib, got, c.want)
		}
	}
}

func TestTwoReleasesWakeTwoWaiters(t *testing.T) {
	s := newSlots(2, 1)
	for range 2 {
		if !acquired(s) {
			t.Fatal("two slots are not free")
		}
	}
	select {
	case <-s.free: // the signal of the first tryAcquire: another slot was free
	default:
	}
	s.release()
	s.release()
	for i := range 2 {
		select {
		case <-s.free:
		default:
			t.Fatalf("waiter %d of 2 is not woken", i+1)
		}
		if !acquired(s) {
			t.Fatalf("waiter %d of 2 finds no slot", i+1)
		}
	}
}
