package client

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"boomerang/internal/execution"
)

func TestTheCallsAboutCallbacksSendTheDocumentedRequests(t *testing.T) {
	var got []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = append(got, r.Method+" "+r.URL.RequestURI()+" "+string(body))
		_, _ = w.Write([]byte(`{"next_cursor":"c","recovered":3}`))
	})
	at := time.Date(2025, 1, 28, 1, 0, 0, 5000, time.FixedZone("", 3600))
	_, next, err1 := c.Deliveries(t.Context(), DeliveryFilter{})
	_, _, err2 := c.Deliveries(t.Context(), DeliveryFilter{
		States: []execution.DeliveryState{execution.Dead, execution.Pending}, Destination: "https://a.example/",
		Since: at, Until: at, Limit: 7, Cursor: next,
	})
	_, err3 := c.Delivery(t.Context(), "exec_1")
	_, err4 := c.Attempts(t.Context(), "exec_1")
	_, err5 := c.Redeliver(t.Context(), "exec_1")
	n, err6 := c.Recover(t.Context(), at, "https://a.example")
	sample := Sample{URL: "https://a.example/", Headers: map[string]string{"X-A": "a"}, Secrets: Secrets{"s"}}
	_, err7 := c.Test(t.Context(), sample)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil || n != 3 {
		t.Fatalf("recovered %d, %v", n, err)
	}
	const day = "2025-01-28T00%3A00%3A00.000005Z"
	want := []string{
		"GET /below/callbacks ",
		"GET /below/callbacks?cursor=c&destination=https%3A%2F%2Fa.example%2F&limit=7&since=" + day +
			"&status=dead%2Cpending&until=" + day + " ",
		"GET /below/executions/exec_1/callback ",
		"GET /below/executions/exec_1/callback/attempts ",
		"POST /below/executions/exec_1/callback/redeliver ",
		"POST /below/callbacks/recover?destination=https%3A%2F%2Fa.example&since=" + day + " ",
		`POST /below/callbacks/test {"callback_url":"https://a.example/","callback_headers":{"X-A":"a"},` +
			`"callback_signature_secret":"s"}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
}
