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
	"boomerang/internal/servertest"
)

// code returns the program in bash. It first writes its nonce to the book of runs, and at last the time of its end.
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

// plan is a submission that has not been made.
type plan struct {
	Program
	every   int           // number of lines between two pauses
	pause   time.Duration // between groups of lines
	timeout int           // seconds
	after   time.Duration // delay after the last submission of the same client
	twin    bool          // sends two requests at once with one Idempotency-Key
	cancel  time.Duration // delay of the cancellation; 0 cancels nothing
	small   bool          // requests lower limits than those of its language
}

// ticket is a submission in progress.
type ticket struct {
	plan
	mu sync.Mutex // guards s
	s  Submission
}

// blame adds reasons for a failure that a fault explains.
func (t *ticket) blame(reasons ...execution.Reason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s.Scapegoats = append(t.s.Scapegoats, reasons...)
}

// id returns the ID of the execution, or "" before it is accepted.
func (t *ticket) id() execution.ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.s.IDs) == 0 {
		return ""
	}
	return t.s.IDs[0]
}

// customer is a client that repeats requests until they succeed.
type customer struct {
	url, token, hook string
	http             http.Client
}

// submit posts the submission until the server accepts it.
func (c *customer) submit(ctx context.Context, t *ticket) {
	var wg sync.WaitGroup
	if t.twin {
		wg.Go(func() { c.postUntilAccepted(ctx, t) })
	}
	c.postUntilAccepted(ctx, t)
	wg.Wait()
}

// cancel cancels an accepted execution, and repeats the request until it succeeds.
func (c *customer) cancel(ctx context.Context, t *ticket) {
	t.mu.Lock()
	t.s.Cancelled = true
	t.mu.Unlock()
	for {
		status, _, _, err := c.post(ctx, "/executions/"+string(t.id())+"/cancel", nil, "")
		if err == nil && status == http.StatusOK || !servertest.Rest(ctx, 200*time.Millisecond) {
			return
		}
	}
}

// postUntilAccepted posts the request until the answer is 200.
func (c *customer) postUntilAccepted(ctx context.Context, t *ticket) {
	body := map[string]any{
		"code": t.code(), "language": "bash", "timeout": t.timeout,
		"callback_url": c.hook + "/callback", "callback_signature_secret": servertest.Secret,
	}
	if t.Files > 0 {
		body["artifacts"] = []string{"left*"}
	}
	if t.small {
		body["limits"] = map[string]any{"memory": "48MiB", "pids": 64}
	}
	unsure := t.twin // whether a request may have been stored without a 200
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
		servertest.Rest(ctx, 200*time.Millisecond)
	}
}

func (c *customer) post(ctx context.Context, path string, body any, key string) (status int, id execution.ID,
	replayed bool, err error,
) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, "", false, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // the timeout of the SDKs
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
