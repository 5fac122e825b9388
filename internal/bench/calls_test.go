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

// calls counts the calls to the engine and the disk syncs of one execution, for one client and for eight. The container
// that replaces a warm one counts for the execution that used the warm one.
func calls(h *harness) {
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
		if err := errors.Join(one(), s.awaitRest(ctx)); err != nil {
			h.Fatal(err)
		}
		w.drain()
		if err := share(1, h.runs, func() error { return errors.Join(one(), s.awaitRest(ctx)) }); err != nil {
			h.Fatal(err)
		}
		made := w.drain()
		alone, err := s.syncs(h, func() error { return errors.Join(share(1, h.runs, one), s.awaitRest(ctx)) })
		together, again := s.syncs(h, func() error { return errors.Join(share(8, 4*h.runs, one), s.awaitRest(ctx)) })
		if err := errors.Join(err, again); err != nil {
			h.Fatal(err)
		}
		correct := s.stop()
		total := 0
		lines := []string{"per execution\tms to the answer\t"}
		for _, call := range slices.Sorted(maps.Keys(made)) {
			if strings.Contains(call, "/containers/") {
				total += len(made[call])
				lines = append(lines, fmt.Sprintf("%.2f  %s\t%s\t", float64(len(made[call]))/float64(h.runs), call,
					Figure{Unit: "ms", Sample: made[call]}))
			}
		}
		h.note(fmt.Sprintf("The calls of one execution to the engine, %s:", kind.name), lines...)
		count := func(what string, n, of int) {
			h.add(Row{
				What: "H  " + what + ", " + kind.name, Ours: Figure{Sample: Sample{float64(n) / float64(of)}},
				Correct: correct,
			})
		}
		count("calls to the engine for one", total, h.runs)
		if alone >= 0 {
			count("fsync and fdatasync for one, 1 client", alone, h.runs)
			count("fsync and fdatasync for one, 8 clients", together, 4*h.runs)
		}
	}
}

// syncs counts the disk syncs of the server with strace while do runs. It returns -1 if there is no strace.
func (s *server) syncs(h *harness, do func() error) (n int, err error) {
	h.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		return -1, do()
	}
	var said bytes.Buffer
	trace := exec.Command("strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-p", strconv.Itoa(int(s.Process)))
	trace.Stderr = &said
	if err := trace.Start(); err != nil {
		return 0, err
	}
	err = await(h.Context(), "strace traces the server", pause, func() (bool, error) {
		text, err := os.ReadFile(s.File("status"))
		return !bytes.Contains(text, []byte("TracerPid:\t0\n")), err
	})
	err = errors.Join(err, do(), trace.Process.Signal(syscall.SIGINT))
	_ = trace.Wait()                                 // strace ends by the signal
	for line := range strings.Lines(said.String()) { // % time, seconds, usecs/call, calls, errors or nothing, syscall
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasSuffix(fields[len(fields)-1], "sync") {
			times, _ := strconv.Atoi(fields[3])
			n += times
		}
	}
	return n, err
}
