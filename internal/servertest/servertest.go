// Package servertest holds the tools that tests of a whole server share: a receiver that keeps callbacks, tokens, free
// addresses, the server's log, waiting, and the figures that Linux keeps about a process.
//
// The package knows a server as a client and an operator do. It does not know how a test starts the server, or why.
package servertest

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
)

// Eventually calls ok at once, and again after each pause, until it returns true. It returns false if ctx ends first.
func Eventually(ctx context.Context, pause time.Duration, ok func() bool) bool {
	for !ok() {
		if !Rest(ctx, pause) {
			return false
		}
	}
	return true
}

// Rest waits for d. It returns false if ctx ends first.
func Rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Answers reports whether GET url answers 200.
func Answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode == http.StatusOK
}

// FreeAddress returns an address of this machine on which a server can listen, also again after a restart.
func FreeAddress(t testing.TB) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// Token issues a token for an hour, signed with the key in the data directory of a server.
func Token(t testing.TB, dir, subject string, scopes ...string) string {
	t.Helper()
	tokens, err := auth.New(auth.Defaults(), dir)
	if err != nil {
		t.Fatal(err)
	}
	token, err := tokens.Issue(subject, time.Hour, scopes...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// servers counts the calls of UIDBase.
var servers atomic.Int32

// UIDBase returns the first user ID of a range of 1000 that no other server of this process has. Servers that share an
// engine must not share the users of their programs.
func UIDBase() int { return 1_000_000 + 1_000*int(servers.Add(1)) }

// Silent returns a log that discards everything.
func Silent() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

// LogEntry is one line of a server's JSON log.
type LogEntry struct {
	Level, Msg, Error string
	Node, Container   string
	Execution         execution.ID `json:"execution_id"`
}

// ParseLog reads a server's JSON log. A line that is no JSON, such as those of a panic, becomes an error entry.
func ParseLog(text string) (entries []LogEntry) {
	for line := range strings.Lines(text) {
		var e LogEntry
		if json.Unmarshal([]byte(line), &e) != nil {
			e = LogEntry{Level: "error", Msg: strings.TrimSpace(line)}
		}
		entries = append(entries, e)
	}
	return entries
}

// NodeID returns the node ID in a server's JSON log, with which its containers are labelled, or "" before it is logged.
func NodeID(log string) string {
	for _, e := range ParseLog(log) {
		if e.Node != "" {
			return e.Node
		}
	}
	return ""
}
