package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"boomerang/internal/client"
	"boomerang/internal/execution"
)

type runCmd struct {
	remote
	File     string            `arg:"" help:"The code. - reads standard input, and then --language is needed."`
	Args     []string          `arg:"" optional:"" help:"Arguments of the program, behind -- if one of them begins with -."`
	Language string            `help:"The language. Default: what the file's ending says; without one, python." short:"l" placeholder:"NAME"`
	Timeout  int64             `help:"Seconds until the program is ended. Default: 3600." default:"3600" short:"t" placeholder:"S"`
	Env      map[string]string `help:"A variable of the program's environment; may be given more than once." short:"e" placeholder:"NAME=VALUE"`
	Stdin    string            `help:"A file whose bytes the program reads; - is standard input." placeholder:"FILE"`
	Files    []string          `name:"file" help:"A file that the program finds at PATH in its working directory; may be given more than once." placeholder:"PATH[=LOCAL]" short:"f" sep:"none"`
	Artifact []string          `help:"Files to keep of what it leaves, like 'out/**'; may be given more than once." placeholder:"GLOB" sep:"none"`
	saving
	Limits      client.Limits     `embed:""`
	Workspace   string            `help:"The workspace that the program finds in /workspace and may change." placeholder:"NAME"`
	ReadOnly    bool              `help:"Change nothing in the workspace, and wait for nobody."`
	Name        string            `help:"What you call it." placeholder:"NAME"`
	Metadata    map[string]string `help:"Your own words for it, sent back with the result; may be given more than once. No secrets." placeholder:"KEY=VALUE"`
	WorkingDir  string            `help:"Where it runs, below /workspace or /tmp." placeholder:"DIR"`
	CallbackURL string            `help:"Where the result is posted as well; without one it is kept in the record alone." placeholder:"URL"`
	Secret      []string          `help:"Signs the callback; during a rotation up to three, newest first." sep:"none" placeholder:"S"`
	Quiet       bool              `help:"Print nothing but what the program prints." short:"q"`
}

// Help says more than one line.
func (runCmd) Help() string {
	return `What the program prints appears as it comes: stdout on stdout, stderr on stderr. The exit code is the program's own,
124 after a timeout, 128 + N after signal N, and 125 when the program could not be run. Ctrl-C cancels the execution.

  boomerang run train.py --timeout 7200 -e EPOCHS=10 -f data.csv -f lib/model.py=model.py --memory 256MiB -- --verbose
  echo 'print(6*7)' | boomerang run - -l python`
}

// exitNotRun is the exit code when there is none of the program's own, as docker run has it.
const exitNotRun = 125

// Run submits the file, shows what it prints, and ends as it ended.
func (r *runCmd) Run(ctx context.Context) error {
	server, id, err := r.submit(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "boomerang: error: %v\n", err)
		return exitError(exitNotRun)
	}
	shown := newScreen(id, r.Quiet)
	shown.waits("queued")
	record, err := server.Follow(ctx, id, shown.show)
	if ctx.Err() != nil {
		return r.cancel(context.WithoutCancel(ctx), server, shown)
	}
	if err != nil {
		shown.settle()
		return fmt.Errorf("%s goes on without us: %w", id, err)
	}
	shown.ended(record)
	if w := record.WorkspaceResult; w != nil && !w.Saved {
		shown.say("the workspace %s stays as it was%s", w.Name, because(w.Reason))
	} else if w != nil && w.OmittedCount > 0 {
		shown.say("%d entries of the workspace %s are not kept; the record says why", w.OmittedCount, w.Name)
	}
	if err := r.keep(ctx, server, shown); err != nil {
		return err
	}
	if record.ExitCode == nil {
		return exitError(exitNotRun)
	}
	if *record.ExitCode != 0 {
		return exitError(*record.ExitCode)
	}
	return nil
}

// keep tells which files there are, and downloads them where that was asked for.
func (r *runCmd) keep(ctx context.Context, server *client.Client, shown *screen) error {
	if len(r.Artifact) == 0 {
		return nil
	}
	left, err := server.Artifacts(ctx, shown.id)
	if err != nil {
		return err
	}
	for _, line := range omissions(left) {
		shown.say("%s", line)
	}
	if r.Dir != "" {
		return r.save(ctx, server, shown.id, left.Artifacts, tell{shown})
	}
	if n := len(left.Artifacts); n > 0 {
		shown.say("has left %d files: boomerang artifacts %s", n, shown.id)
	}
	return nil
}

// tell is for lines that say what happens.
type tell struct{ shown *screen }

func (t tell) Write(p []byte) (int, error) {
	t.shown.say("%s", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func (r *runCmd) submit(ctx context.Context) (*client.Client, execution.ID, error) {
	s, err := r.submission()
	if err != nil {
		return nil, "", err
	}
	server, err := client.New(r.Server, r.Token)
	if err != nil {
		return nil, "", err
	}
	id, err := server.Submit(ctx, s)
	return server, id, err
}

// exitInterrupted is 128 + SIGINT.
const exitInterrupted = 130

// shutdownTimeout bounds the last call after Ctrl-C.
const shutdownTimeout = 10 * time.Second

func (r *runCmd) cancel(ctx context.Context, server *client.Client, shown *screen) error {
	ctx, stop := context.WithTimeout(ctx, shutdownTimeout)
	defer stop()
	record, err := server.Cancel(ctx, shown.id)
	if err != nil {
		return err
	}
	shown.say("cancelled (it is %s)", record.Status)
	return exitError(exitInterrupted)
}
