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

// Sample describes a sample callback.
type Sample struct {
	URL     string            `json:"callback_url"`
	Headers map[string]string `json:"callback_headers,omitempty"`
	Secrets Secrets           `json:"callback_signature_secret,omitempty"`
}

// DeliveryFilter selects callbacks. A zero value does not restrict the selection.
type DeliveryFilter struct {
	States      []execution.DeliveryState
	Destination string // any URL with the scheme, host and port of the receiver
	Since       time.Time
	Until       time.Time
	Limit       int    // 1 to 200; 0 means the server's default
	Cursor      string // the cursor that Deliveries returned with the previous page
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
		"status", strings.Join(states, ","), "destination", f.Destination,
		"since", formatTime(f.Since), "until", formatTime(f.Until),
		"cursor", f.Cursor, "limit", limit)
}

// query encodes alternating names and values as the query of a URL. It omits empty values, which the server would
// reject.
func query(pairs ...string) string {
	values := url.Values{}
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			values.Set(pair[0], pair[1])
		}
	}
	return values.Encode()
}

// formatTime returns "" for the zero time.
func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Deliveries returns one page of callbacks, newest first, and the cursor of the next page, "" after the last page.
func (c *Client) Deliveries(
	ctx context.Context, f DeliveryFilter,
) (page []wire.Delivery, next string, err error) {
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

// Delivery returns the callback of an execution.
func (c *Client) Delivery(ctx context.Context, id execution.ID) (d wire.DeliveryRecord, err error) {
	if err := c.call(ctx, http.MethodGet, c.callbackURL(id), nil, nil, &d); err != nil {
		return wire.DeliveryRecord{}, fmt.Errorf("get callback: %w", err)
	}
	return d, nil
}

// Attempts returns all attempts of a callback, oldest first.
func (c *Client) Attempts(ctx context.Context, id execution.ID) ([]wire.Attempt, error) {
	var answer struct {
		Attempts []wire.Attempt `json:"attempts"`
	}
	if err := c.call(ctx, http.MethodGet, c.callbackURL(id, "attempts"), nil, nil, &answer); err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	return answer.Attempts, nil
}

// Redeliver sends a callback now, whatever its state, and returns the callback after the request.
func (c *Client) Redeliver(ctx context.Context, id execution.ID) (d wire.DeliveryRecord, err error) {
	if err := c.call(ctx, http.MethodPost, c.callbackURL(id, "redeliver"), nil, nil, &d); err != nil {
		return wire.DeliveryRecord{}, fmt.Errorf("redeliver: %w", err)
	}
	return d, nil
}

// callbackURL returns a URL below the callback of an execution.
func (c *Client) callbackURL(id execution.ID, below ...string) *url.URL {
	return c.base.JoinPath("executions", string(id), "callback").JoinPath(below...)
}

// Recover sends the dead callbacks again that were created since a time and go to a destination, and returns their
// number. A zero time does not restrict the time, an empty destination does not restrict the destination.
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

// Test lets the server send a sample callback now. A sample that does not arrive is not an error.
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
