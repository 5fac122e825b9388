// Package client calls the HTTP API of a boomerang server: it submits code, follows executions, reads their output,
// and cancels them; it manages callbacks, artifacts and workspaces.
//
// The package knows the wire format of the API. It does not know how a server implements the API.
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

// MaxWait is the longest time that a server delays the answer to Get.
const MaxWait = time.Minute

const (
	callTimeout = MaxWait + 30*time.Second // limit of a call, up to the end of the answer
	maxProblem  = 64 << 10                 // limit of the body of an error answer, bytes
)

// Client calls one server with one token. It is safe for concurrent use.
//
// All methods return a *fault.Error if the server refuses the request. Any other error means that no answer arrived,
// or that the answer did not come from a boomerang server.
type Client struct {
	base    *url.URL
	token   string
	calls   *http.Client // limited by callTimeout
	streams *http.Client // without a time limit
}

// New returns a client for the server at an absolute http or https URL, which may have a path.
func New(server, token string) (*Client, error) {
	base, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, fmt.Errorf("server: %q is not an http or https URL", server)
	}
	// A followed redirect would send the token to another server.
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		base: base, token: token,
		calls:   &http.Client{Timeout: callTimeout, CheckRedirect: noRedirect},
		streams: &http.Client{CheckRedirect: noRedirect},
	}, nil
}

// Submission is a request to run code. The server's defaults replace zero values, which are not sent.
type Submission struct {
	Code            string                 `json:"code"`
	CallbackURL     string                 `json:"callback_url,omitempty"` // empty: store the result, do not post it
	Language        string                 `json:"language,omitempty"`
	Timeout         int64                  `json:"timeout,omitempty"` // seconds
	WorkingDir      string                 `json:"working_dir,omitempty"`
	Env             map[string]string      `json:"env,omitempty"`
	Name            string                 `json:"name,omitempty"`
	Args            []string               `json:"args,omitempty"`
	Stdin           *Bytes                 `json:"stdin,omitempty"`
	Files           []File                 `json:"files,omitempty"`
	Artifacts       []string               `json:"artifacts,omitempty"` // glob patterns of the files to keep
	Limits          Limits                 `json:"limits,omitzero"`
	Metadata        map[string]string      `json:"metadata,omitempty"`
	Workspace       execution.WorkspaceUse `json:"workspace,omitzero"`
	CallbackHeaders map[string]string      `json:"callback_headers,omitempty"`
	Secrets         Secrets                `json:"callback_signature_secret,omitempty"`
	IdempotencyKey  string                 `json:"-"` // makes a repeated Submit safe
}

// Bytes is binary content, sent as base64.
type Bytes struct {
	Base64 []byte `json:"base64"` // not nil
}

// File is a file that the program finds when it starts.
type File struct {
	Path string `json:"path"` // relative to the working directory
	Bytes
	Mode string `json:"mode,omitempty"` // permissions in octal digits; 600 if empty
}

// Limits replace the limits of the language. Sizes look like 64MiB. Zero values are not sent. The other tags describe
// the flags of boomerang run.
type Limits struct {
	Memory string  `json:"memory,omitempty" help:"Memory limit." placeholder:"64MiB"`
	CPUs   float64 `json:"cpus,omitempty" name:"cpus" help:"CPU limit." placeholder:"0.5"`
	PIDs   int64   `json:"pids,omitempty" name:"pids" help:"Limit of processes and threads." placeholder:"N"`
	Output string  `json:"output,omitempty" help:"Limit of each stored output stream." placeholder:"1MiB"`

	Workspace string `json:"workspace,omitempty" name:"workspace-size" help:"Limit of /workspace." placeholder:"64MiB"`
	Artifacts string `json:"artifacts,omitempty" name:"artifact-size" help:"Limit of artifacts." placeholder:"16MiB"`
}

// Secrets sign a callback: at most 3, newest first. A single secret is a string in JSON.
type Secrets []string

// MarshalJSON writes a string or a list.
func (s Secrets) MarshalJSON() ([]byte, error) {
	if len(s) == 1 {
		return json.Marshal(s[0])
	}
	return json.Marshal([]string(s))
}

// Record is the state of an execution. Only Status is valid in its Result until Status is terminal.
type Record struct {
	wire.Result
	CreatedAt       time.Time     `json:"created_at"`
	CancelRequested bool          `json:"cancel_requested"`
	Callback        wire.Callback `json:"callback"`
}

// Submit submits code. Without an error, the server has stored the execution and will run it once.
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

// Get returns the record of an execution when the execution has ended, or when wait is over. The wait is rounded down
// to whole seconds and limited to MaxWait.
func (c *Client) Get(ctx context.Context, id execution.ID, wait time.Duration) (r Record, err error) {
	wait = min(wait, MaxWait).Truncate(time.Second)
	u := c.base.JoinPath("executions", string(id))
	u.RawQuery = query("wait", strconv.Itoa(int(wait/time.Second)))
	if err := c.call(ctx, http.MethodGet, u, nil, nil, &r); err != nil {
		return Record{}, fmt.Errorf("get execution: %w", err)
	}
	return r, nil
}

// Cancel requests the end of an execution and returns the record after the request. It does not change an ended
// execution.
func (c *Client) Cancel(ctx context.Context, id execution.ID) (r Record, err error) {
	u := c.base.JoinPath("executions", string(id), "cancel")
	if err := c.call(ctx, http.MethodPost, u, nil, nil, &r); err != nil {
		return Record{}, fmt.Errorf("cancel execution: %w", err)
	}
	return r, nil
}

// Output returns the stored part of an output stream.
func (c *Client) Output(ctx context.Context, id execution.ID, stream execution.Stream) (output []byte, err error) {
	u := c.base.JoinPath("executions", string(id), "output")
	u.RawQuery = query("stream", string(stream))
	response, err := c.send(ctx, c.calls, http.MethodGet, u, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("read output: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // the body was read to its end, or an error is returned already
	if output, err = io.ReadAll(response.Body); err != nil {
		return nil, fmt.Errorf("read output: %w", err)
	}
	return output, nil
}

// call sends a request and decodes the JSON of the answer.
func (c *Client) call(
	ctx context.Context, method string, u *url.URL, header http.Header, body []byte, answer any,
) error {
	response, err := c.send(ctx, c.calls, method, u, header, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // the body was read to its end, or an error is returned already
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

// send sends a request with the token. An answer that is not a success becomes an error.
func (c *Client) send(
	ctx context.Context, via *http.Client, method string, u *url.URL, header http.Header, body io.Reader,
) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	if header != nil {
		request.Header = header
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	response, err := via.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		defer response.Body.Close() //nolint:errcheck // the answer is an error already
		return nil, problemOf(response)
	}
	return response, nil
}

// problemOf decodes the fault in an error answer.
func problemOf(response *http.Response) error {
	var problem struct {
		Message    string         `json:"message"`
		Code       fault.Code     `json:"code"`
		Details    map[string]any `json:"details"`
		RetryAfter int64          `json:"retry_after"`
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
	if err = errors.Join(err, json.Unmarshal(text, &problem)); err != nil || problem.Code == "" {
		return fmt.Errorf("%s answered %s, which is not an answer of a boomerang server: %.200q",
			response.Request.URL.Host, response.Status, strings.TrimSpace(string(text)))
	}
	f := fault.New(problem.Code, "%s", problem.Message).After(time.Duration(problem.RetryAfter) * time.Second)
	f.Details = problem.Details
	return f
}
