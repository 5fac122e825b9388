package dispatch

import "testing"

func TestASlotIsNeverHeldTwice(t *testing.T) {
	s := newSlots(3)
	s.occupy(1) // an earlier process's run
	s.occupy(7) // from when there were more slots
	var got []int
	for n, ok := s.take(); ok; n, ok = s.take() {
		got = append(got, n)
	}
	if len(got) != 1 || got[0] != 0 {
		t.Errorf("took %v, want the one that is left by a size of 3 with two running: [0]", got)
	}
	s.free(7)
	if n, ok := s.take(); !ok || n != 2 {
		t.Errorf("took %d, %t after one was freed", n, ok)
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
