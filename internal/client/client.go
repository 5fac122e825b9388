// Package client calls the HTTP API of a boomerang server: submit, look, read what was printed, cancel.
//
// It knows the wire as a client does. It refuses to know how a server keeps its word.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/wire"
)

// MaxWait is the longest that a server holds the answer of Get.
const MaxWait = time.Minute

const (
	callTimeout = MaxWait + 30*time.Second // the longest that a call takes, to the end of its answer
	maxProblem  = 64 << 10                 // bytes of an error's body that are read
)

// Client speaks to one server with one token. It is safe for concurrent use.
//
// Errors of all methods: a *fault.Error is the server's own refusal, in its words; anything else says that no answer came
// or that it was not one of boomerang's.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
	// streams has no bound on how long an answer takes.
	streams *http.Client
}

// New makes a client of the server at an absolute http or https URL, which may have a path.
func New(server, token string) (*Client, error) {
	base, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, fmt.Errorf("server: %q is not an http or https URL", server)
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the token is for this server alone
	return &Client{
		base: base, token: token,
		http: &http.Client{Timeout: callTimeout, CheckRedirect: stay}, streams: &http.Client{CheckRedirect: stay},
	}, nil
}

// Submission is what is to be run. Zero values are left out, and the server's defaults stand.
type Submission struct {
	Code            string                 `json:"code"`
	CallbackURL     string                 `json:"callback_url,omitempty"` // empty: the result is kept and not posted
	Language        string                 `json:"language,omitempty"`
	Timeout         int64                  `json:"timeout,omitempty"` // seconds
	WorkingDir      string                 `json:"working_dir,omitempty"`
	Env             map[string]string      `json:"env,omitempty"`
	Name            string                 `json:"name,omitempty"`
	Args            []string               `json:"args,omitempty"`
	Stdin           *Bytes                 `json:"stdin,omitempty"`
	Files           []File                 `json:"files,omitempty"`
	Artifacts       []string               `json:"artifacts,omitempty"` // globs of the files that are wanted back
	Limits          Limits                 `json:"limits,omitzero"`
	Metadata        map[string]string      `json:"metadata,omitempty"`
	Workspace       execution.WorkspaceUse `json:"workspace,omitzero"`
	CallbackHeaders map[string]string      `json:"callback_headers,omitempty"`
	Secrets         Secrets                `json:"callback_signature_secret,omitempty"`
	IdempotencyKey  string                 `json:"-"` // makes it safe to submit again when no answer came
}

// Bytes travel as base64.
type Bytes struct {
	Base64 []byte `json:"base64"` // not nil
}

// File is one that the program finds when it starts.
type File struct {
	Path string `json:"path"` // relative to the working directory
	Bytes
	Mode string `json:"mode,omitempty"` // permissions in octal digits; empty: 600
}

// Limits are what the program gets in place of its language's limits. Sizes are written like 64MiB; zero values are left out.
type Limits struct {
	Memory    string  `json:"memory,omitempty"`
	CPUs      float64 `json:"cpus,omitempty"`
	PIDs      int64   `json:"pids,omitempty"`
	Output    string  `json:"output,omitempty"`
	Workspace string  `json:"workspace,omitempty"`
	Artifacts string  `json:"artifacts,omitempty"`
}

// Secrets sign a callback, newest first; at most 3. A single one is a string on the wire.
type Secrets []string

// MarshalJSON writes a string or a list.
func (s Secrets) MarshalJSON() ([]byte, error) {
	if len(s) == 1 {
		return json.Marshal(s[0])
	}
	return json.Marshal([]string(s))
}

// Record is what the server shows of an execution. Its Result holds only when its Status is terminal.
type Record struct {
	wire.Result
	CreatedAt       time.Time     `json:"created_at"`
	CancelRequested bool          `json:"cancel_requested"`
	Callback        wire.Callback `json:"callback"`
}

// Submit hands in code. When it returns without an error the execution is stored and will run once.
func (c *Client) Submit(ctx context.Context, s Submission) (execution.ID, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("submit: %w", err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if s.IdempotencyKey != "" {
		header.Set("Idempotency-Key", s.IdempotencyKey)
	}
	var accepted struct {
		ExecutionID execution.ID `json:"execution_id"`
	}
	route := "async"
	if s.CallbackURL == "" {
		route = "background"
	}
	if err := c.call(ctx, http.MethodPost, c.base.JoinPath("execute", route), header, body, &accepted); err != nil {
		return "", fmt.Errorf("submit: %w", err)
	}
	return accepted.ExecutionID, nil
}

// Get returns the record of an execution, as soon as it has ended or when wait is over. Wait is counted in whole seconds
// and is at most MaxWait.
func (c *Client) Get(ctx context.Context, id execution.ID, wait time.Duration) (r Record, err error) {
	wait = min(wait, MaxWait).Truncate(time.Second)
	u := c.base.JoinPath("executions", string(id))
	u.RawQuery = query("wait", strconv.Itoa(int(wait/time.Second)))
	if err := c.call(ctx, http.MethodGet, u, nil, nil, &r); err != nil {
		return Record{}, fmt.Errorf("get execution: %w", err)
	}
	return r, nil
}

// Cancel asks for the end of an execution and returns its record after that. One that has ended stays as it is.
func (c *Client) Cancel(ctx context.Context, id execution.ID) (r Record, err error) {
	if err := c.call(ctx, http.MethodPost, c.base.JoinPath("executions", string(id), "cancel"), nil, nil, &r); err != nil {
		return Record{}, fmt.Errorf("cancel execution: %w", err)
	}
	return r, nil
}

// Output returns what is kept of a stream so far.
func (c *Client) Output(ctx context.Context, id execution.ID, stream execution.Stream) (kept []byte, err error) {
	u := c.base.JoinPath("executions", string(id), "output")
	u.RawQuery = query("stream", string(stream))
	response, err := c.send(ctx, http.MethodGet, u, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("read output: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end, or the error is told already
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read output: %w", refusal(response))
	}
	if kept, err = io.ReadAll(response.Body); err != nil {
		return nil, fmt.Errorf("read output: %w", err)
	}
	return kept, nil
}

// call sends a request and decodes the JSON of a 200 into answer.
func (c *Client) call(ctx context.Context, method string, u *url.URL, header http.Header, body []byte, answer any) error {
	response, err := c.send(ctx, method, u, header, body)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // the answer was read, or the error is told already
	if response.StatusCode != http.StatusOK {
		return refusal(response)
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method string, u *url.URL, header http.Header, body []byte) (*http.Response, error) {
	return c.do(ctx, c.http, method, u, header, body)
}

func (c *Client) do(
	ctx context.Context, by *http.Client, method string, u *url.URL, header http.Header, body []byte,
) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if header != nil {
		request.Header = header
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	return by.Do(request)
}

// refusal makes the server's fault out of its answer.
func refusal(response *http.Response) error {
	var problem struct {
		Message    string         `json:"message"`
		Code       fault.Code     `json:"code"`
		Details    map[string]any `json:"details"`
		RetryAfter int64          `json:"retry_after"`
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
	if err = errors.Join(err, json.Unmarshal(text, &problem)); err != nil || problem.Code == "" {
		return fmt.Errorf("%s answered %s, which is not an answer of boomerang: %.200q", response.Request.URL.Host, response.Status,
			strings.TrimSpace(string(text)))
	}
	f := fault.New(problem.Code, "%s", problem.Message).After(time.Duration(problem.RetryAfter) * time.Second)
	f.Details = problem.Details
	return f
}
