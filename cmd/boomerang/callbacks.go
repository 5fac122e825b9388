package main

import (
	"cmp"
	"context"
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
	Show      callbacksShowCmd      `cmd:"" help:"Show one callback, its attempts, and why it has not arrived."`
	Redeliver callbacksRedeliverCmd `cmd:"" help:"Send one callback now, whatever its state."`
	Recover   callbacksRecoverCmd   `cmd:"" help:"Send all dead callbacks again."`
	Test      callbacksTestCmd      `cmd:"" help:"Send a sample callback from the server now, and show the outcome."`
}

// Help implements kong.HelpProvider.
func (callbacksCmd) Help() string {
	return `To find out why a callback has not arrived, and to send it again:

  boomerang callbacks list --status dead
  boomerang callbacks show exec_…
  boomerang callbacks test https://your-server.example/webhook --secret s3cret
  boomerang callbacks redeliver exec_…
  boomerang callbacks recover --since 24h --to https://your-server.example

A token with the scope admin sees the callbacks of all subjects. The exit code is 1 if the server refuses the request,
and if a test does not arrive.`
}

type callbacksListCmd struct {
	callFlags
	To    string  `help:"Only callbacks to the server of this URL." placeholder:"URL"`
	Since instant `help:"Only callbacks created since then: a time, or a duration like 24h." placeholder:"TIME"`
	Until instant `help:"Only callbacks created before then." placeholder:"TIME"`
	Limit int     `help:"Maximum number of callbacks." default:"50"`

	Status []execution.DeliveryState `help:"Only pending, delivered or dead callbacks." enum:"pending,delivered,dead"`
}

// maxPage is the size of the longest page that a server sends.
const maxPage = 200

// Run lists callbacks, page by page.
func (l *callbacksListCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := l.connect()
	if err != nil {
		return err
	}
	filter := client.DeliveryFilter{States: l.Status, Destination: l.To, Since: l.Since.Time, Until: l.Until.Time}
	list := []wire.Delivery{} // [] instead of null in JSON
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
		rows = append(rows, []string{
			string(d.ExecutionID), formatState(d), strconv.Itoa(d.Attempts),
			formatTime(d.CreatedAt), formatTime(d.NextAttemptAt), d.URL,
		})
	}
	return printTable(k.Stdout, []string{"EXECUTION", "STATE", "ATTEMPTS", "CREATED", "NEXT ATTEMPT", "URL"}, rows)
}

type callbacksShowCmd struct {
	callFlags
	ID execution.ID `arg:"" help:"ID of the execution." name:"execution-id"`
}

// Run shows one callback.
func (s *callbacksShowCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := s.connect()
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
			wait = formatSeconds(*a.RetryAfter)
		}
		rows = append(rows, []string{
			strconv.Itoa(a.Number), formatTime(&a.StartedAt), formatSeconds(a.Duration), string(a.Outcome),
			formatStatus(a.StatusCode), wait, a.Detail, formatAnswer(a.Reply),
		})
	}
	head := []string{"ATTEMPT", "STARTED", "TOOK", "OUTCOME", "STATUS", "RETRY AFTER", "DETAIL", "ANSWER"}
	return printTable(k.Stdout, head, rows)
}

func printDelivery(w io.Writer, d wire.DeliveryRecord) error {
	if _, err := fmt.Fprintf(w, "%s\n\n", d.Explanation); err != nil {
		return err
	}
	return printTable(w, nil, [][]string{
		{"execution", string(d.ExecutionID)},
		{"state", formatState(d.Delivery)},
		{"url", cmp.Or(d.URL, "-")},
		{"webhook-id", d.WebhookID},
		{"headers", cmp.Or(strings.Join(d.HeaderNames, ", "), "-")},
		{"signed", formatBool(d.Signed)},
		{"attempts", strconv.Itoa(d.Attempts)},
		{"created", formatTime(d.CreatedAt)},
		{"next attempt", formatTime(d.NextAttemptAt)},
		{"ended", formatTime(d.EndedAt)},
	})
}

type callbacksRedeliverCmd struct {
	callFlags
	ID execution.ID `arg:"" help:"ID of the execution." name:"execution-id"`
}

// Run sends one callback now.
func (r *callbacksRedeliverCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := r.connect()
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
	callFlags
	Since instant `help:"Only callbacks created since then: a time, or a duration like 24h." placeholder:"TIME"`
	To    string  `help:"Only callbacks to the server of this URL." placeholder:"URL"`
}

// Run sends the dead callbacks again.
func (r *callbacksRecoverCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := r.connect()
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
	callFlags
	URL string `arg:"" help:"URL to send the sample to."`

	Header map[string]string `help:"Header of the sample; repeatable." mapsep:"none" placeholder:"NAME=VALUE"`

	Secret []string `help:"Secret of the sample; repeatable." sep:"none" env:"BOOMERANG_SECRET" placeholder:"S"`
}

// Run sends a sample to a receiver.
func (c *callbacksTestCmd) Run(ctx context.Context, k *kong.Kong) error {
	if err := checkSecrets(c.Secret); err != nil {
		return err
	}
	server, err := c.connect()
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
		return exitError(exitFailure)
	}
	return nil
}

func printTrial(w io.Writer, t wire.Trial, asJSON bool) error {
	if asJSON {
		return printJSON(w, t)
	}
	if _, err := fmt.Fprintf(w, "%s\n\n", t.Detail); err != nil {
		return err
	}
	return printTable(w, nil, [][]string{
		{"url", t.URL},
		{"arrived", formatBool(t.Arrived)},
		{"outcome", string(t.Outcome)},
		{"rule", formatText(t.Rule)},
		{"resolved", formatBool(t.Resolved)},
		{"connected", formatBool(t.Connected)},
		{"tls", formatText(t.TLS)},
		{"status", formatStatus(t.StatusCode)},
		{"took", formatSeconds(t.Duration)},
		{"signed", formatBool(t.Signed)},
		{"answer", formatAnswer(t.Reply)},
	})
}

// printJSON prints a value for programs.
func printJSON(w io.Writer, v any) error {
	encoder := wire.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// printTable prints aligned columns for people. Without a head the first column holds the names.
func printTable(w io.Writer, head []string, rows [][]string) error {
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

func formatState(d wire.Delivery) string {
	if d.Reason != nil {
		return fmt.Sprintf("%s (%s)", d.State, *d.Reason)
	}
	return string(d.State)
}

func formatTime(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func formatSeconds(s wire.Seconds) string { return s.String() + "s" }

func formatStatus(code *int) string {
	if code == nil {
		return "-"
	}
	return strconv.Itoa(*code)
}

func formatBool(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// formatText returns a text, or - if there is none.
func formatText(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

// formatAnswer quotes the beginning of an answer, so that a receiver cannot steer the terminal.
func formatAnswer(r wire.Reply) string {
	const limit = 60 // runes
	switch runes := []rune(r.Answer); {
	case len(runes) == 0:
		return "-"
	case len(runes) > limit:
		return strconv.QuoteToGraphic(string(runes[:limit])) + "…"
	}
	return strconv.QuoteToGraphic(r.Answer)
}
