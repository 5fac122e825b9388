package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// The columns of an execution with all its optional parts, but without its output and sealed fields. The query
// selectClaimed adds the program.
const (
	recordColumns = `e.id, e.name, e.subject, e.language, e.working_dir, e.timeout, e.env_names, e.options,
		e.created_at, e.state,
		e.cancel_requested_at IS NOT NULL, coalesce(e.batch, ''), e.summary, coalesce(c.url, ''), c.header_names,
		coalesce(c.depth, 0),
		r.node, r.epoch, r.container, r.nonce, r.started_at, r.deadline,
		z.reason, z.exit_code, z.error, z.started_at, z.completed_at, z.duration, z.output_complete, z.cpu_time,
		z.max_memory,
		o.bytes, length(o.head), length(o.tail), p.bytes, length(p.head), length(p.tail)`
	recordTables = ` FROM executions e
		LEFT JOIN callbacks c ON c.execution = e.seq
		LEFT JOIN runs r ON r.execution = e.seq
		LEFT JOIN results z ON z.execution = e.seq
		LEFT JOIN outputs o ON o.execution = e.seq AND o.stream = 'stdout'
		LEFT JOIN outputs p ON p.execution = e.seq AND p.stream = 'stderr'`
	selectRecord  = `SELECT ` + recordColumns + recordTables
	selectClaimed = `SELECT ` + recordColumns + `, g.code, g.env, g.input` + recordTables + `
		JOIN programs g ON g.execution = e.seq`
)

// Get implements follow.Records. It reads no output, and no sealed field: only Output returns the output, only Claim
// code, env and input, and only Delivery the sealed fields of the callback.
func (s *Store) Get(ctx context.Context, id execution.ID) (execution.Execution, error) {
	e, err := scanExecution(s.readers.row(ctx, selectRecord+` WHERE e.id = ?`, id))
	return e, wrapError("get execution", notFound(err))
}

// List implements httpapi.Records. It sorts by ID, and IDs sort by time.
func (s *Store) List(ctx context.Context, f execution.Filter) ([]execution.Execution, error) {
	query, args := selectList(f)
	return collect(ctx, uncached{s.db}, "list executions", scanExecution, query, args...)
}

func selectList(f execution.Filter) (query string, args []any) {
	query = selectRecord + ` WHERE true`
	only := func(condition string, value any) {
		query += ` AND ` + condition
		args = append(args, value)
	}
	if f.Subject != "" {
		only(`e.subject = ?`, f.Subject)
	}
	if len(f.States) > 0 {
		states, _ := json.Marshal(f.States) // strings always marshal
		only(`e.state IN (SELECT value FROM json_each(?))`, string(states))
	}
	if f.Language != "" {
		only(`e.language = ?`, f.Language)
	}
	if f.Batch != "" {
		only(`e.batch = ?`, f.Batch)
	}
	if !f.Since.IsZero() {
		only(`e.created_at >= ?`, unixNano(f.Since))
	}
	if !f.Until.IsZero() {
		only(`e.created_at < ?`, unixNano(f.Until))
	}
	if f.Before != "" {
		only(`e.id < ?`, f.Before)
	}
	return query + ` ORDER BY e.id DESC LIMIT ? + 0`, append(args, f.Limit)
}

// notFound turns the error of a missing row into the fault EXECUTION_NOT_FOUND.
func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.ExecutionNotFound, "There is no such execution.")
	}
	return err
}

// scanExecution reads the columns of selectRecord.
func scanExecution(r scanner) (execution.Execution, error) { return scanRecord(r, nil) }

// scanClaimed reads the columns of selectClaimed.
func scanClaimed(r scanner) (execution.Execution, error) {
	var code, env, input []byte
	e, err := scanRecord(r, []any{&code, &env, &input})
	e.Code, e.Env, e.Input = code, env, input
	return e, err
}

func scanRecord(r scanner, more []any) (e execution.Execution, err error) {
	var envNames, options, headerNames sql.Null[string]
	var created int64
	var run runColumns
	var result resultColumns
	dest := []any{
		&e.ID, &e.Name, &e.Subject, &e.Language, &e.WorkingDir, &e.Timeout, &envNames, &options, &created, &e.State,
		&e.CancelRequested, &e.Batch.ID, &e.Batch.Summary, &e.Callback.URL, &headerNames, &e.Callback.Depth,
	}
	dest = append(dest, run.dest()...)
	dest = append(dest, result.dest()...)
	if err := r.Scan(append(dest, more...)...); err != nil {
		return e, err
	}
	e.CreatedAt = timeOf(created)
	e.Run = run.value()
	e.Result = result.value(e.State)
	if e.EnvNames, err = parseNames(envNames); err != nil {
		return e, fmt.Errorf("read env names: %w", err)
	}
	if options.Valid {
		if err := json.Unmarshal([]byte(options.V), &e.Options); err != nil {
			return e, fmt.Errorf("read options: %w", err)
		}
	}
	if e.Callback.HeaderNames, err = parseNames(headerNames); err != nil {
		return e, fmt.Errorf("read header names: %w", err)
	}
	return e, nil
}

// runColumns is a row of runs, which may be missing.
type runColumns struct {
	node, container, nonce   sql.Null[string]
	epoch, started, deadline sql.Null[int64]
}

func (c *runColumns) dest() []any {
	return []any{&c.node, &c.epoch, &c.container, &c.nonce, &c.started, &c.deadline}
}

func (c *runColumns) value() *execution.Run {
	if !c.node.Valid {
		return nil
	}
	return &execution.Run{
		Node: c.node.V, Epoch: c.epoch.V, Container: c.container.V, Nonce: c.nonce.V,
		StartedAt: optionalTime(c.started), Deadline: optionalTime(c.deadline),
	}
}

// resultColumns are a row of results and two rows of outputs, each of which may be missing.
type resultColumns struct {
	reason, text                            sql.Null[string]
	exit, started, completed, duration, cpu sql.Null[int64]
	memory                                  sql.Null[int64]
	stdout, stderr                          outputColumns
	complete                                sql.Null[bool]
}

// outputColumns are the sizes of an output, whose row may be missing.
type outputColumns struct{ bytes, head, tail sql.Null[int64] }

func (c *outputColumns) value() execution.Output {
	return execution.Output{Bytes: c.bytes.V, Stored: execution.Sizes{Head: c.head.V, Tail: c.tail.V}}
}

func (c *resultColumns) dest() []any {
	return []any{
		&c.reason, &c.exit, &c.text, &c.started, &c.completed, &c.duration, &c.complete, &c.cpu, &c.memory,
		&c.stdout.bytes, &c.stdout.head, &c.stdout.tail, &c.stderr.bytes, &c.stderr.head, &c.stderr.tail,
	}
}

func (c *resultColumns) value(state execution.State) *execution.Result {
	if !c.reason.Valid {
		return nil
	}
	r := &execution.Result{
		State: state, Reason: execution.Reason(c.reason.V), Error: c.text.V,
		StartedAt: optionalTime(c.started), CompletedAt: optionalTime(c.completed),
		Duration: time.Duration(c.duration.V),
		Stdout:   c.stdout.value(), Stderr: c.stderr.value(),
		OutputComplete: c.complete.V, CPUTime: time.Duration(c.cpu.V), MaxMemory: c.memory.V,
	}
	if c.exit.Valid {
		r.ExitCode = new(int(c.exit.V))
	}
	return r
}

func scanID(r scanner) (id execution.ID, err error) { return id, r.Scan(&id) }

// unixNano returns the stored form of a time: nanoseconds since 1970 UTC, or NULL for the zero time.
func unixNano(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}

func timeOf(ns int64) time.Time { return time.Unix(0, ns).UTC() }

func optionalTime(ns sql.Null[int64]) time.Time {
	if !ns.Valid {
		return time.Time{}
	}
	return timeOf(ns.V)
}

// namesJSON returns the stored form of a list of names: a JSON array, or NULL for an empty list.
func namesJSON(list []string) any {
	if len(list) == 0 {
		return nil
	}
	text, _ := json.Marshal(list) // strings always marshal
	return string(text)
}

// optionsJSON returns the stored form of options: a JSON object, or NULL for options that are all empty.
func optionsJSON(o execution.Options) any {
	text, _ := json.Marshal(o) // strings and finite numbers always marshal
	if string(text) == "{}" {
		return nil
	}
	return string(text)
}

func parseNames(text sql.Null[string]) (list []string, err error) {
	if !text.Valid {
		return nil, nil
	}
	return list, json.Unmarshal([]byte(text.V), &list)
}
