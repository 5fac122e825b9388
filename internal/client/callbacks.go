package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// Sample is where and how a callback is to be tried out.
type Sample struct {
	URL     string            `json:"callback_url"`
	Headers map[string]string `json:"callback_headers,omitempty"`
	Secrets Secrets           `json:"callback_signature_secret,omitempty"`
}

// DeliveryFilter chooses callbacks. Zero values choose nothing away.
type DeliveryFilter struct {
	States      []execution.DeliveryState
	Destination string // any URL of the receiver
	Since       time.Time
	Until       time.Time
	Limit       int    // 1–200; 0 leaves it to the server
	Cursor      string // what Deliveries returned with the page before
}

func (f DeliveryFilter) query() string {
	states := make([]string, len(f.States))
	for i, s := range f.States {
		states[i] = string(s)
	}
	limit := ""
	if f.Limit > 0 {
		limit = strconv.Itoa(f.Limit)
	}
	return query(
		"status", strings.Join(states, ","), "destination", f.Destination, "since", instant(f.Since), "until", instant(f.Until),
		"cursor", f.Cursor, "limit", limit)
}

// query writes names and values, in turn, as a URL's query. The server refuses empty values, so they are left out.
func query(pairs ...string) string {
	values := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			values.Set(pair[0], pair[1])
		}
	}
	return values.Encode()
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Deliveries returns one page of callbacks, newest first, and the cursor of the next page; "" on the last.
func (c *Client) Deliveries(ctx context.Context, f DeliveryFilter) (page []wire.Delivery, next string, err error) {
	u := c.base.JoinPath("callbacks")
	u.RawQuery = f.query()
	var answer struct {
		Callbacks  []wire.Delivery `json:"callbacks"`
		NextCursor string          `json:"next_cursor"`
	}
	if err := c.call(ctx, http.MethodGet, u, nil, nil, &answer); err != nil {
		return nil, "", fmt.Errorf("list callbacks: %w", err)
	}
	return answer.Callbacks, answer.NextCursor, nil
}

// Delivery returns what became of the callback of an execution.
func (c *Client) Delivery(ctx context.Context, id execution.ID) (d wire.DeliveryRecord, err error) {
	if err := c.call(ctx, http.MethodGet, c.base.JoinPath("executions", string(id), "callback"), nil, nil, &d); err != nil {
		return wire.DeliveryRecord{}, fmt.Errorf("get callback: %w", err)
	}
	return d, nil
}

// Attempts returns all attempts of a callback, the first one first.
func (c *Client) Attempts(ctx context.Context, id execution.ID) ([]wire.Attempt, error) {
	var answer struct {
		Attempts []wire.Attempt `json:"attempts"`
	}
	if err := c.call(ctx, http.MethodGet, c.base.JoinPath("executions", string(id), "callback", "attempts"), nil, nil, &answer); err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	return answer.Attempts, nil
}

// Redeliver has a callback sent now, whatever became of it, and returns it after that.
func (c *Client) Redeliver(ctx context.Context, id execution.ID) (d wire.DeliveryRecord, err error) {
	if err := c.call(ctx, http.MethodPost, c.base.JoinPath("executions", string(id), "callback", "redeliver"), nil, nil, &d); err != nil {
		return wire.DeliveryRecord{}, fmt.Errorf("redeliver: %w", err)
	}
	return d, nil
}

// Recover has the dead callbacks sent again that were created since a time, zero for all, to a destination, "" for all. It
// returns how many.
func (c *Client) Recover(ctx context.Context, since time.Time, destination string) (int, error) {
	u := c.base.JoinPath("callbacks", "recover")
	u.RawQuery = DeliveryFilter{Since: since, Destination: destination}.query()
	var answer struct {
		Recovered int `json:"recovered"`
	}
	if err := c.call(ctx, http.MethodPost, u, nil, nil, &answer); err != nil {
		return 0, fmt.Errorf("recover callbacks: %w", err)
	}
	return answer.Recovered, nil
}

// Test has the server send a sample now. That it did not arrive is no error.
func (c *Client) Test(ctx context.Context, s Sample) (t wire.Trial, err error) {
	body, err := json.Marshal(s)
	if err != nil {
		return wire.Trial{}, fmt.Errorf("test callback: %w", err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if err := c.call(ctx, http.MethodPost, c.base.JoinPath("callbacks", "test"), header, body, &t); err != nil {
		return wire.Trial{}, fmt.Errorf("test callback: %w", err)
	}
	return t, nil
}
