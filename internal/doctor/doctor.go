// Package doctor runs attacks as real executions in an operator's own images and reports which isolation checks held.
//
// The package knows the expected results. It does not know how an attack works (cmd/boomerang-probe does) or which
// engine the sandbox uses.
package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"boomerang/internal/capture"
	"boomerang/internal/journal"
	"boomerang/internal/language"
	"boomerang/internal/network"
	"boomerang/internal/probe"
	"boomerang/internal/sandbox"
)

// Doctor examines languages, one after another.
type Doctor struct {
	Sandbox  sandbox.Sandbox
	Program  string // path of probe.Program inside the containers of this sandbox
	Host     string // name of the engine's machine; empty if unknown
	Confined bool   // the engine has AppArmor
	Short    bool   // skip attacks that take seconds
	// Networks are the networks that languages may use. Machine holds the known addresses of the engine's machine.
	Networks network.Config
	Machine  []netip.Addr
	// Found receives each finding at once, from one goroutine.
	Found func(probe.Finding)

	neighbours []netip.Addr // addresses of the neighbours that run during the attacks
}

// The slots of the doctor's executions are far from those of a server, because both may run on one engine at the same
// time.
const (
	attackerSlot = 9000 + iota
	neighbourSlot
)

const (
	checksTimeout = 2 * time.Minute // reading every folder of an image takes time
	attackTimeout = time.Minute
	readyTimeout  = time.Minute
	engineGrace   = 2 * time.Minute // time for the engine beyond a job's timeout
	slack         = 64 << 10        // bytes of a stream beyond its head and tail, for the frames of the init
	leastOutput   = 1 << 20         // bytes that are kept of each stream, even if the language keeps less
)

// Examine runs every attack against a language and reports findings to Found. A failed check is no error. Errors: those
// of the sandbox, and a failed start of the neighbour, which shows whether attacks reach beyond their container.
func (d *Doctor) Examine(ctx context.Context, l language.Language) error {
	n, err := d.startNeighbour(ctx, l)
	if err != nil {
		return fmt.Errorf("neighbour: %w", err)
	}
	inner := *d
	inner.neighbours = n.addresses()
	err = inner.examine(ctx, l, n)
	return errors.Join(err, n.remove(context.WithoutCancel(ctx)))
}

func (d *Doctor) examine(ctx context.Context, l language.Language, n *neighbour) error {
	if err := d.runChecks(ctx, l, probe.IsolationChecks, checksTimeout); err != nil {
		return fmt.Errorf("isolation checks: %w", err)
	}
	for _, t := range attacks() {
		if d.Short && t.seconds {
			continue
		}
		before := n.progress()
		w, err := d.run(ctx, l, t.kind, t.timeout)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		happened, held := t.assess(w)
		if !held && onGVisor(l) {
			happened, held = w.assessUnderGVisor(t, happened)
		}
		if t.seconds {
			words, quiet := n.compare(before)
			happened, held = happened+"; "+words, held && quiet
		}
		d.Found(probe.Finding{Group: t.group, Name: t.name, Should: t.should, Happened: happened, Held: held})
	}
	return nil
}

// runChecks runs the checks inside one container and passes on their findings. A last finding says whether all checks
// ran to the end.
func (d *Doctor) runChecks(ctx context.Context, l language.Language, play probe.Attack, timeout time.Duration) error {
	w, err := d.run(ctx, l, play, timeout)
	if err != nil {
		return err
	}
	findings := probe.Read[probe.Finding](w.stdout)
	for _, f := range findings {
		d.Found(f)
	}
	end := probe.Finding{
		Group: "end", Name: "all checks ran",
		Should: "the program runs to its end, with a proof",
	}
	promised := int64(-1)
	if len(w.answers) > 0 {
		promised = w.answers[0].Count
	}
	end.Happened = fmt.Sprintf("%d of %d, %s", len(findings), promised, w.ending())
	end.Held = w.proven() && w.outcome.Stdout.ExitCode == 0 && int64(len(findings)) == promised
	if !end.Held {
		end.Happened += ": " + firstLine(w.stderr)
	}
	d.Found(end)
	return nil
}

// observation is everything that was seen of one execution.
type observation struct {
	limits         probe.Limits
	nonce          string
	head, tail     int64
	outcome        sandbox.Outcome
	stdout, stderr []byte
	answers        []probe.Answer
}

// run runs one execution to its end and removes its container.
func (d *Doctor) run(ctx context.Context, l language.Language, play probe.Attack, timeout time.Duration) (observation,
	error,
) {
	ctx, cancel := context.WithTimeout(ctx, timeout+engineGrace)
	defer cancel()
	spec, job := d.plan(l, play, attackerSlot, timeout)
	w := observation{limits: expectedLimits(l), nonce: job.Nonce, head: job.Head, tail: job.Tail}
	most := job.Head + job.Tail
	stdout, stderr := capture.New(most, most+slack), capture.New(most, most+slack)
	container, err := d.Sandbox.Prepare(ctx, spec)
	if err != nil {
		return w, err
	}
	if err = container.Assign(ctx, job); err == nil {
		w.outcome, err = container.Follow(ctx, job.Nonce, stdout, stderr, nil)
	}
	err = errors.Join(err, container.Remove(context.WithoutCancel(ctx)))
	w.stdout, _ = stdout.Bytes()
	w.stderr, _ = stderr.Bytes()
	w.answers = probe.Read[probe.Answer](w.stdout)
	return w, err
}

// plan plans an ordinary execution of the language, but runs the probe program.
func (d *Doctor) plan(l language.Language, play probe.Attack, slot int, timeout time.Duration) (sandbox.Spec,
	journal.Job,
) {
	machine := d.Host
	if machine == sandbox.Name {
		machine = "" // every container has this name, so it identifies no machine
	}
	task, err := json.Marshal(probe.Task{
		Attack: play, Host: machine, Confined: d.Confined, Sentry: onGVisor(l), Limits: expectedLimits(l),
		Network: networkOf(l), Around: d.surroundings(l),
	})
	if err != nil {
		panic(err) // a struct of strings and numbers always has a JSON form
	}
	spec, job := language.Plan(l, language.Request{Code: string(task), Timeout: timeout, Nonce: journal.NewNonce()})
	spec.Slot = slot
	job.Argv = []string{d.Program, job.File}
	spec.Limits.Output, job.Head = max(spec.Limits.Output, leastOutput), max(job.Head, leastOutput)
	return spec, job
}

// expectedLimits returns the limits that a container of the language should have.
func expectedLimits(l language.Language) probe.Limits {
	return probe.Limits{
		Memory: l.Limits.Memory, CPUs: l.Limits.CPUs, PIDs: l.Limits.PIDs + journal.Threads, Files: l.Limits.Files,
		Workspace: l.Limits.Workspace, Tmp: l.Limits.Tmp,
	}
}

func (w observation) proven() bool { return w.outcome.Proven() }

// ending describes how the execution ended.
func (w observation) ending() string {
	if !w.proven() {
		return fmt.Sprintf("no proof of the end (exit code of PID 1: %d, out of memory: %t)", w.outcome.ExitCode,
			w.outcome.OOMKilled)
	}
	e := w.outcome.Stdout
	words := []string{fmt.Sprintf("exit code %d", e.ExitCode)}
	switch {
	case e.StartError != "":
		words = []string{e.StartError}
	case e.Signal != 0:
		words = []string{fmt.Sprintf("signal %d", e.Signal)}
	}
	for _, also := range []struct {
		is   bool
		word string
	}{{e.TimedOut, "timed out"}, {e.Stopped, "stopped"}, {e.OutOfMem, "out of memory"}} {
		if also.is {
			words = append(words, also.word)
		}
	}
	return strings.Join(words, ", ")
}

// lastAnswer returns the last answer, or an empty one with a note.
func (w observation) lastAnswer() probe.Answer {
	if len(w.answers) == 0 {
		return probe.Answer{Note: "no answer: " + firstLine(w.stderr)}
	}
	return w.answers[len(w.answers)-1]
}

// endedWell reports whether the program exited by itself, with a proof and an answer.
func (w observation) endedWell() bool {
	return w.proven() && w.outcome.Stdout.ExitCode == 0 && w.outcome.Stdout.Signal == 0 && len(w.answers) > 0
}

// onGVisor reports whether gVisor's kernel, the Sentry, runs the programs of a language.
func onGVisor(l language.Language) bool { return strings.HasPrefix(l.Runtime, "runsc") }

// assessUnderGVisor assesses an attack again if the container has a kernel of its own. A program that overloads that
// kernel, or kills its PID 1, ends only its own container, so there is no proof. That kernel also counts processes and
// CPU time differently. All other checks of the journal must hold there too.
func (w observation) assessUnderGVisor(t attack, happened string) (string, bool) {
	ended := !w.proven() && w.outcome.ExitCode != 0
	spared := t.kind == probe.SignalInit || t.group == bombs || t.group == quotas || t.kind == probe.Zombies
	if ended {
		happened = "gVisor ends the whole container: " + happened
	} else {
		happened = "gVisor counts differently: " + happened
	}
	return happened, spared && (ended || w.endedWell())
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return line
}
