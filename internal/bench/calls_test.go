//go:build bench

package bench

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// calls counts what one execution asks of the engine and of the disk, one after another and eight at once. A berth that is
// made to replace one that was taken belongs to the execution that took it.
func calls(h *house) {
	ctx := h.Context()
	if h.engine.socket == "" {
		h.Skip("the engine is not on this machine")
	}
	for _, kind := range []struct {
		name string
		warm int
	}{{"cold", 0}, {"warm", 4}} {
		dir := filepath.Join(h.dir, kind.name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			h.Fatal(err)
		}
		w := newTap(h.T, dir, h.engine.socket)
		s := h.serve(settings{slots: 8, warm: kind.warm, docker: "unix://" + w.socket})
		one := func() error {
			_, err := s.run(ctx, "python", "print(1)", printsOne)
			return err
		}
		if err := errors.Join(one(), s.settle(ctx)); err != nil {
			h.Fatal(err)
		}
		w.take()
		if err := share(1, h.runs, func() error { return errors.Join(one(), s.settle(ctx)) }); err != nil {
			h.Fatal(err)
		}
		made := w.take()
		alone, err := s.syncs(h, func() error { return errors.Join(share(1, h.runs, one), s.settle(ctx)) })
		together, again := s.syncs(h, func() error { return errors.Join(share(8, 4*h.runs, one), s.settle(ctx)) })
		if err := errors.Join(err, again); err != nil {
			h.Fatal(err)
		}
		correct := s.stop()
		total := 0
		lines := []string{"per execution\tms to the answer\t"}
		for _, call := range slices.Sorted(maps.Keys(made)) {
			if strings.Contains(call, "/containers/") {
				total += len(made[call])
				lines = append(lines, fmt.Sprintf("%.2f  %s\t%s\t", float64(len(made[call]))/float64(h.runs), call, Figure{Unit: "ms", Sample: made[call]}))
			}
		}
		h.note(fmt.Sprintf("What one execution asks of the engine, %s:", kind.name), lines...)
		count := func(what string, n, of int) {
			h.add(Row{What: "H  " + what + ", " + kind.name, Ours: Figure{Sample: Sample{float64(n) / float64(of)}}, Correct: correct})
		}
		count("calls to the engine for one", total, h.runs)
		if alone >= 0 {
			count("fsync and fdatasync for one, 1 client", alone, h.runs)
			count("fsync and fdatasync for one, 8 clients", together, 4*h.runs)
		}
	}
}

// syncs counts with strace how often the server has the disk sync while something is done; -1 where there is no strace.
func (s *server) syncs(h *house, do func() error) (n int, err error) {
	h.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		return -1, do()
	}
	var said bytes.Buffer
	trace := exec.Command("strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-p", strconv.Itoa(int(s.process)))
	trace.Stderr = &said
	if err := trace.Start(); err != nil {
		return 0, err
	}
	err = await(h.Context(), "strace holds the server", pause, func() (bool, error) {
		text, err := os.ReadFile(s.file("status"))
		return !bytes.Contains(text, []byte("TracerPid:\t0\n")), err
	})
	err = errors.Join(err, do(), trace.Process.Signal(syscall.SIGINT))
	_ = trace.Wait()                                 // it ends by the signal
	for line := range strings.Lines(said.String()) { // % time, seconds, usecs/call, calls, errors or nothing, syscall
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasSuffix(fields[len(fields)-1], "sync") {
			times, _ := strconv.Atoi(fields[3])
			n += times
		}
	}
	return n, err
}
