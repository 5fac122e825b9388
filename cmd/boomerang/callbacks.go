package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"boomerang/internal/client"
	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

type callbacksCmd struct {
	List      callbacksListCmd      `cmd:"" help:"List callbacks, newest first."`
	Show      callbacksShowCmd      `cmd:"" help:"Show one callback with every attempt, and why it has not arrived."`
	Redeliver callbacksRedeliverCmd `cmd:"" help:"Send one callback now, whatever became of it."`
	Recover   callbacksRecoverCmd   `cmd:"" help:"Send all dead callbacks again."`
	Test      callbacksTestCmd      `cmd:"" help:"Have the server send a sample now, and show what happened."`
}

// Help says more than one line.
func (callbacksCmd) Help() string {
	return `Why did it not arrive?

  boomerang callbacks list --status dead
  boomerang callbacks show exec_…
  boomerang callbacks test https://your-server.example/webhook --secret s3cret
  boomerang callbacks redeliver exec_…
  boomerang callbacks recover --since 24h --to https://your-server.example

A token with the scope admin sees everybody's. The exit code is 1 when the server refuses, and when a test did not arrive.`
}

// asked are the flags of every command about callbacks.
type asked struct {
	remote
	JSON bool `help:"Print JSON, as the server has it." name:"json"`
}

type callbacksListCmd struct {
	asked
	Status []execution.DeliveryState `help:"Only those that are pending, delivered or dead; several with commas." enum:"pending,delivered,dead" placeholder:"STATE"`
	To     string                    `help:"Only those to this receiver: any URL of it." placeholder:"URL"`
	Since  instant                   `help:"Only those created at this time or later; a time or how long ago." placeholder:"TIME"`
	Until  instant                   `help:"Only those created before this time." placeholder:"TIME"`
	Limit  int                       `help:"How many at most. Default: 50." default:"50" placeholder:"N"`
}

// maxPage is the most that a server gives at once.
const maxPage = 200

// Run lists callbacks, page by page.
func (l *callbacksListCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := client.New(l.Server, l.Token)
	if err != nil {
		return err
	}
	filter := client.DeliveryFilter{States: l.Status, Destination: l.To, Since: l.Since.Time, Until: l.Until.Time}
	list := []wire.Delivery{} // not null in JSON
	for len(list) < l.Limit {
		filter.Limit = min(l.Limit-len(list), maxPage)
		page, next, err := server.Deliveries(ctx, filter)
		if err != nil {
			return err
		}
		list = append(list, page...)
		if filter.Cursor = next; next == "" {
			break
		}
	}
	if l.JSON {
		return printJSON(k.Stdout, list)
	}
	rows := make([][]string, 0, len(list))
	for _, d := range list {
		rows = append(rows, []string{string(d.ExecutionID), stateOf(d), strconv.Itoa(d.Attempts), at(d.CreatedAt), at(d.NextAttemptAt), d.URL})
	}
	return table(k.Stdout, []string{"EXECUTION", "STATE", "ATTEMPTS", "CREATED", "NEXT ATTEMPT", "URL"}, rows)
}

type callbacksShowCmd struct {
	asked
	ID execution.ID `arg:"" help:"The execution." name:"execution"`
}

// Run shows one callback.
func (s *callbacksShowCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := client.New(s.Server, s.Token)
	if err != nil {
		return err
	}
	d, err := server.Delivery(ctx, s.ID)
	if err != nil {
		return err
	}
	attempts, err := server.Attempts(ctx, s.ID)
	if err != nil {
		return err
	}
	if s.JSON {
		return printJSON(k.Stdout, struct {
			Callback wire.DeliveryRecord `json:"callback"`
			Attempts []wire.Attempt      `json:"attempts"`
		}{d, attempts})
	}
	if err := printDelivery(k.Stdout, d); err != nil || len(attempts) == 0 {
		return err
	}
	if _, err := fmt.Fprintln(k.Stdout); err != nil {
		return err
	}
	rows := make([][]string, 0, len(attempts))
	for _, a := range attempts {
		wait := "-"
		if a.RetryAfter != nil {
			wait = seconds(*a.RetryAfter)
		}
		rows = append(rows, []string{
			strconv.Itoa(a.Number), at(&a.StartedAt), seconds(a.Duration), string(a.Outcome), status(a.StatusCode), wait, a.Detail, said(a.Reply),
		})
	}
	return table(k.Stdout, []string{"ATTEMPT", "STARTED", "TOOK", "OUTCOME", "STATUS", "RETRY AFTER", "DETAIL", "ANSWER"}, rows)
}

func printDelivery(w io.Writer, d wire.DeliveryRecord) error {
	if _, err := fmt.Fprintf(w, "%s\n\n", d.Explanation); err != nil {
		return err
	}
	return table(w, nil, [][]string{
		{"execution", string(d.ExecutionID)},
		{"state", stateOf(d.Delivery)},
		{"url", cmp.Or(d.URL, "-")},
		{"webhook-id", d.WebhookID},
		{"headers", cmp.Or(strings.Join(d.HeaderNames, ", "), "-")},
		{"signed", yes(d.Signed)},
		{"attempts", strconv.Itoa(d.Attempts)},
		{"created", at(d.CreatedAt)},
		{"next attempt", at(d.NextAttemptAt)},
		{"ended", at(d.EndedAt)},
	})
}

type callbacksRedeliverCmd struct {
	asked
	ID execution.ID `arg:"" help:"The execution." name:"execution"`
}

// Run has one callback sent now.
func (r *callbacksRedeliverCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := client.New(r.Server, r.Token)
	if err != nil {
		return err
	}
	d, err := server.Redeliver(ctx, r.ID)
	if err != nil {
		return err
	}
	if r.JSON {
		return printJSON(k.Stdout, d)
	}
	return printDelivery(k.Stdout, d)
}

type callbacksRecoverCmd struct {
	asked
	Since instant `help:"Only those created at this time or later; a time or how long ago. Without it all that are kept." placeholder:"TIME"`
	To    string  `help:"Only those to this receiver: any URL of it." placeholder:"URL"`
}

// Run has the dead callbacks sent again.
func (r *callbacksRecoverCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := client.New(r.Server, r.Token)
	if err != nil {
		return err
	}
	n, err := server.Recover(ctx, r.Since.Time, r.To)
	if err != nil {
		return err
	}
	if r.JSON {
		return printJSON(k.Stdout, map[string]int{"recovered": n})
	}
	_, err = fmt.Fprintf(k.Stdout, "%d sent again\n", n)
	return err
}

type callbacksTestCmd struct {
	asked
	URL    string            `arg:"" help:"Where the sample is sent."`
	Header map[string]string `help:"A header of it; may be given more than once." mapsep:"none" placeholder:"NAME=VALUE"`
	Secret []string          `help:"Signs it; during a rotation up to three, newest first." sep:"none" env:"BOOMERANG_SECRET" placeholder:"S"`
}

// Run tries a receiver out.
func (c *callbacksTestCmd) Run(ctx context.Context, k *kong.Kong) error {
	if err := checkSecrets(c.Secret); err != nil {
		return err
	}
	server, err := client.New(c.Server, c.Token)
	if err != nil {
		return err
	}
	t, err := server.Test(ctx, client.Sample{URL: c.URL, Headers: c.Header, Secrets: c.Secret})
	if err != nil {
		return err
	}
	if err := printTrial(k.Stdout, t, c.JSON); err != nil {
		return err
	}
	if !t.Arrived {
		return exitError(1)
	}
	return nil
}

func printTrial(w io.Writer, t wire.Trial, asJSON bool) error {
	if asJSON {
		return printJSON(w, t)
	}
	or := func(s *string) string {
		if s == nil {
			return "-"
		}
		return *s
	}
	if _, err := fmt.Fprintf(w, "%s\n\n", t.Detail); err != nil {
		return err
	}
	return table(w, nil, [][]string{
		{"url", t.URL},
		{"arrived", yes(t.Arrived)},
		{"outcome", string(t.Outcome)},
		{"rule", or(t.Rule)},
		{"resolved", yes(t.Resolved)},
		{"connected", yes(t.Connected)},
		{"tls", or(t.TLS)},
		{"status", status(t.StatusCode)},
		{"took", seconds(t.Duration)},
		{"signed", yes(t.Signed)},
		{"answer", said(t.Reply)},
	})
}

// printJSON is for programs.
func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// table is for people.
func table(w io.Writer, head []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if head != nil {
		rows = append([][]string{head}, rows...)
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(t, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

func stateOf(d wire.Delivery) string {
	if d.Reason != nil {
		return fmt.Sprintf("%s (%s)", d.State, *d.Reason)
	}
	return string(d.State)
}

func at(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func seconds(s wire.Seconds) string { return s.String() + "s" }

func status(code *int) string {
	if code == nil {
		return "-"
	}
	return strconv.Itoa(*code)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// said quotes the beginning of an answer: what a receiver writes must not steer a terminal.
func said(r wire.Reply) string {
	const enough = 60
	switch runes := []rune(r.Answer); {
	case len(runes) == 0:
		return "-"
	case len(runes) > enough:
		return strconv.QuoteToGraphic(string(runes[:enough])) + "…"
	}
	return strconv.QuoteToGraphic(r.Answer)
}
