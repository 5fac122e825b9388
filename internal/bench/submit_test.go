//go:build bench

package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"boomerang/internal/servertest"
	"boomerang/internal/store"
)

const senders = 64

// submissions measures durable submissions by 64 clients, each with a connection and a token of its own. No program
// runs. The row ends with a kill of the server, after which the store must have all accepted submissions.
func submissions(h *harness) {
	s := h.serve(settings{slots: 1, docker: noEngine})
	letters := make([][]byte, senders)
	for i := range letters {
		letters[i] = h.rawRequest(s, fmt.Sprint("sender", i))
	}
	rate, middle, late, sync := Figure{Unit: "/s"}, Figure{Unit: "ms"}, Figure{Unit: "ms"},
		Figure{Name: "one fdatasync", Unit: "ms"}
	answered := map[string]bool{}
	total := 0
	for range h.windows {
		sync.Sample = append(sync.Sample, h.fdatasync())
		ctx, cancel := context.WithTimeout(h.Context(), h.window)
		began := time.Now()
		waits, ids, err := flood(ctx, s.addr, func(sender int) []byte { return letters[sender] })
		cancel()
		if err != nil {
			h.Fatal(err)
		}
		rate.Sample = append(rate.Sample, float64(len(ids))/time.Since(began).Seconds())
		middle.Sample, late.Sample = append(middle.Sample, waits.Median()), append(late.Sample, waits.At(0.99))
		total += len(ids)
		for _, id := range ids {
			answered[id] = true
		}
	}
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
	stored, err := queued(h.Context(), s.dir)
	if err != nil {
		h.Fatal(err)
	}
	correct := fmt.Sprintf("%d answered, %d stored after kill -9", total, stored)
	if len(answered) != total || stored != total {
		correct = "WRONG: " + correct
		h.Errorf("got %d answers with %d IDs and %d stored executions", total, len(answered), stored)
	}
	h.add(Row{
		What: "C  submissions, 64 clients", Ours: rate, Theirs: sync, Goal: "≥ 3000 /s",
		Met: rate.Sample.Median() >= 3000, Correct: correct,
	})
	h.add(Row{What: "C  the answer, p50", Ours: middle, Theirs: sync, Correct: correct})
	h.add(Row{
		What: "C  the answer, p99", Ours: late, Theirs: sync, Goal: "≤ 50 ms", Met: late.Sample.Median() <= 50,
		Correct: correct,
	})
}

// rawRequest returns the bytes of a submission, so that sending it costs little.
func (h *harness) rawRequest(s *server, subject string) []byte {
	h.Helper()
	token := servertest.Token(h, s.dir, subject)
	body := fmt.Sprintf(`{"code":"echo 1","language":"bash","callback_url":%q,"callback_signature_secret":%q}`,
		h.receiver.URL+"/callback", servertest.Secret)
	return fmt.Appendf(nil,
		"POST /execute/async HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"+
			"Content-Length: %d\r\n\r\n%s",
		s.addr, token, len(body), body)
}

// flood sends requests over 64 connections until ctx ends or next returns nil. Every answer must be 200.
func flood(ctx context.Context, addr string, next func(sender int) []byte) (waits Sample, ids []string, err error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			w, i, e := post(ctx, addr, func() []byte { return next(sender) })
			mu.Lock()
			defer mu.Unlock()
			waits, ids, err = append(waits, w...), append(ids, i...), errors.Join(err, e)
		})
	}
	all.Wait()
	return waits, ids, err
}

// post sends requests over one connection.
func post(ctx context.Context, addr string, next func() []byte) (waits Sample, ids []string, err error) {
	connection, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = connection.Close() }()
	answers := bufio.NewReader(connection)
	for ctx.Err() == nil {
		letter := next()
		if letter == nil {
			break
		}
		began := time.Now()
		if _, err := connection.Write(letter); err != nil {
			return waits, ids, err
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			return waits, ids, err
		}
		body, err := io.ReadAll(response.Body)
		err = errors.Join(err, response.Body.Close())
		if err != nil || response.StatusCode != http.StatusOK {
			return waits, ids, fmt.Errorf("%s: %s: %w", response.Status, body, err)
		}
		waits = append(waits, Millis(time.Since(began)))
		_, rest, _ := bytes.Cut(body, []byte(`"execution_id":"`))
		id, _, _ := strings.Cut(string(rest), `"`)
		ids = append(ids, id)
	}
	return waits, ids, nil
}

// queued returns the number of queued executions in a data directory without a server.
func queued(ctx context.Context, dir string) (int, error) {
	s, err := store.Open(ctx, dir, store.Defaults(), servertest.Silent())
	if err != nil {
		return 0, err
	}
	n, err := s.Tally(ctx)
	return n.Queued, errors.Join(err, s.Close())
}

// fdatasync returns the median time of an fdatasync of 4 KiB at the end of a file, in milliseconds.
func (h *harness) fdatasync() float64 {
	h.Helper()
	file, err := os.OpenFile(filepath.Join(h.dir, "sync"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var each Sample
	for range 100 {
		began := time.Now()
		if _, err := file.Write(make([]byte, 4096)); err != nil {
			h.Fatal(err)
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil && !errors.Is(err, syscall.EINTR) {
			h.Fatal(err)
		}
		each = append(each, Millis(time.Since(began)))
	}
	return each.Median()
}
