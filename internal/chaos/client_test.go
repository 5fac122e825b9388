//go:build chaos

package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"boomerang/internal/execution"
)

// code is the program in bash. Its first act is to write its nonce to the book of runs, its last to write when it ended.
func (p plan) code() string {
	if p.Endless {
		p.Lines = 1 << 30
	}
	return fmt.Sprintf(`umask 0
n=$RANDOM$RANDOM$RANDOM
echo $n >>/witness/%[1]s || exit 99
printf -v pad '%%*s' %[2]d ''
pad=${pad// /x}
for ((i = 0; i < %[3]d; i++)); do
	echo "%[1]s $n $i $pad"
	((i %% %[4]d)) || sleep %[5]f
done
for ((f = 0; f < %[7]d; f++)); do
	for ((i = 0; i < %[8]d; i++)); do echo "%[1]s $n $f $i"; done >left$f
done
echo "%[1]s $n end" >&2
echo $EPOCHREALTIME >>/witness/%[1]s.end
exit %[6]d
`, p.Mark, p.Pad, p.Lines, p.every, p.pause.Seconds(), p.Exit, p.Files, FileLines)
}

// plan is a submission that is yet to be made.
type plan struct {
	Program
	every   int           // lines between two pauses
	pause   time.Duration //
	timeout int           // s
	after   time.Duration // since the submission before, of the same client
	twin    bool          // two requests at once under one key
	cancel  time.Duration // when its end is asked for; 0 = never
	small   bool          // it asks for less than its language has
}

// ticket is a submission on its way.
type ticket struct {
	plan
	mu sync.Mutex // guards what follows
	s  Submission
}

// blame explains ends of the execution that are not its program's fault.
func (t *ticket) blame(reasons ...execution.Reason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s.Scapegoats = append(t.s.Scapegoats, reasons...)
}

func (t *ticket) id() execution.ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.s.IDs) == 0 {
		return ""
	}
	return t.s.IDs[0]
}

// customer posts requests and does not give up.
type customer struct {
	url, token, hook string
	http             http.Client
}

// submit brings the submission through, whatever it takes.
func (c *customer) submit(ctx context.Context, t *ticket) {
	var wg sync.WaitGroup
	if t.twin {
		wg.Go(func() { c.insist(ctx, t) })
	}
	c.insist(ctx, t)
	wg.Wait()
}

// cancel asks for the end of an accepted execution until it is heard.
func (c *customer) cancel(ctx context.Context, t *ticket) {
	t.mu.Lock()
	t.s.Cancelled = true
	t.mu.Unlock()
	for {
		status, _, _, err := c.post(ctx, "/executions/"+string(t.id())+"/cancel", nil, "")
		if err == nil && status == http.StatusOK || !rest(ctx, 200*time.Millisecond) {
			return
		}
	}
}

// insist posts the request until it is accepted.
func (c *customer) insist(ctx context.Context, t *ticket) {
	body := map[string]any{
		"code": t.code(), "language": "bash", "timeout": t.timeout,
		"callback_url": c.hook + "/callback", "callback_signature_secret": secret,
	}
	if t.Files > 0 {
		body["artifacts"] = []string{"left*"}
	}
	if t.small {
		body["limits"] = map[string]any{"memory": "48MiB", "pids": 64}
	}
	unsure := t.twin // whether a request of ours may have been stored without our knowing
	for ctx.Err() == nil {
		status, id, replayed, err := c.post(ctx, "/execute/async", body, t.Mark)
		switch {
		case err != nil:
			unsure = true
		case status == http.StatusOK:
			t.mu.Lock()
			t.s.IDs = append(t.s.IDs, id)
			t.s.Turncoat = t.s.Turncoat || replayed && !unsure
			t.mu.Unlock()
			return
		}
		rest(ctx, 200*time.Millisecond)
	}
}

func (c *customer) post(ctx context.Context, path string, body any, key string) (status int, id execution.ID, replayed bool, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, "", false, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // as the SDKs
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(text))
	if err != nil {
		return 0, "", false, err
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, "", false, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	var answer struct {
		ID execution.ID `json:"execution_id"`
	}
	err = json.NewDecoder(response.Body).Decode(&answer)
	return response.StatusCode, answer.ID, response.Header.Get("Idempotent-Replayed") != "", err
}
