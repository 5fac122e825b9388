package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"boomerang/internal/client"
	"boomerang/internal/execution"
)

type runCmd struct {
	serverFlags
	File string   `arg:"" help:"File with the code; - reads standard input and requires --language."`
	Args []string `arg:"" optional:"" help:"Arguments of the program; write -- before arguments that begin with -."`

	Language string `help:"Language. Default: by the extension of the file, or python." short:"l" placeholder:"NAME"`
	Timeout  int64  `help:"Time limit in seconds." default:"3600" short:"t"`

	Env map[string]string `help:"Environment variable of the program; repeatable." short:"e" placeholder:"NAME=VALUE"`

	Stdin string `help:"File for the program's standard input; - is standard input." placeholder:"FILE"`

	Files []string `name:"file" help:"Input file; repeatable." short:"f" sep:"none" placeholder:"PATH[=LOCAL]"`

	Artifact []string `help:"Pattern of files to keep, for example 'out/**'; repeatable." sep:"none" placeholder:"GLOB"`
	downloadFlags

	Limits client.Limits `embed:""`

	Workspace string `help:"Workspace to mount at /workspace." placeholder:"NAME"`
	ReadOnly  bool   `help:"Do not change the workspace, and do not wait for it."`

	Name string `help:"Name of the execution." placeholder:"NAME"`

	Metadata map[string]string `help:"Metadata, sent with the result; repeatable. No secrets." placeholder:"KEY=VALUE"`

	WorkingDir  string   `help:"Working directory, below /workspace or /tmp." placeholder:"DIR"`
	CallbackURL string   `help:"URL to post the result to." placeholder:"URL"`
	Secret      []string `help:"Secret that signs the callback; up to three, newest first." sep:"none" placeholder:"S"`
	Quiet       bool     `help:"Print only the output of the program." short:"q"`
}

// Help implements kong.HelpProvider.
func (runCmd) Help() string {
	return `The output of the program appears while it runs: its stdout on stdout, its stderr on stderr. The exit code
is that of the program, 124 after a timeout, 128 + N after signal N, and 125 if the program could not be run. Ctrl-C
cancels the execution.

  boomerang run train.py --timeout 7200 -e EPOCHS=10 -f data.csv -f lib/model.py=model.py --memory 256MiB -- --verbose
  echo 'print(6*7)' | boomerang run - -l python

With -f PATH=LOCAL the program finds a copy of the file LOCAL at PATH, relative to its working directory. Without
--callback-url the server stores the result and does not post it. A limit that is not set is that of the language.`
}

// Run submits the file, prints the output of the program, and exits as the program exits.
func (r *runCmd) Run(ctx context.Context) error {
	server, id, err := r.submit(ctx)
	if err != nil {
		printError(err)
		return exitError(exitNotRun)
	}
	screen := newScreen(id, r.Quiet)
	screen.progress("queued")
	record, err := server.Follow(ctx, id, screen.show)
	if ctx.Err() != nil {
		return cancel(context.WithoutCancel(ctx), server, screen)
	}
	if err != nil {
		screen.endLine()
		return fmt.Errorf("the connection is lost, but %s continues: %w", id, err)
	}
	screen.showEnd(record)
	if w := record.WorkspaceResult; w != nil && !w.Saved {
		screen.say("workspace %s is unchanged%s", w.Name, reasonClause(w.Reason))
	} else if w != nil && w.OmittedCount > 0 {
		screen.say("%d entries of workspace %s were not saved; the record lists the reasons", w.OmittedCount, w.Name)
	}
	if err := r.handleArtifacts(ctx, server, screen); err != nil {
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

// handleArtifacts reports the artifacts of the execution, and downloads them if --output-dir is set.
func (r *runCmd) handleArtifacts(ctx context.Context, server *client.Client, screen *screen) error {
	if len(r.Artifact) == 0 {
		return nil
	}
	list, err := server.Artifacts(ctx, screen.id)
	if err != nil {
		return err
	}
	for _, line := range omissions(list) {
		screen.say("%s", line)
	}
	if r.Dir != "" {
		return r.download(ctx, server, screen.id, list.Artifacts, screenWriter{screen})
	}
	if n := len(list.Artifacts); n > 0 {
		screen.say("%d artifacts: boomerang artifacts %s", n, screen.id)
	}
	return nil
}

// screenWriter prints each Write as one line about the execution.
type screenWriter struct{ screen *screen }

func (w screenWriter) Write(p []byte) (int, error) {
	w.screen.say("%s", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func (r *runCmd) submit(ctx context.Context) (*client.Client, execution.ID, error) {
	s, err := r.submission()
	if err != nil {
		return nil, "", err
	}
	server, err := r.connect()
	if err != nil {
		return nil, "", err
	}
	id, err := server.Submit(ctx, s)
	return server, id, err
}

// cancelTimeout limits the request that cancels the execution after Ctrl-C.
const cancelTimeout = 10 * time.Second

func cancel(ctx context.Context, server *client.Client, screen *screen) error {
	ctx, stop := context.WithTimeout(ctx, cancelTimeout)
	defer stop()
	record, err := server.Cancel(ctx, screen.id)
	if err != nil {
		return err
	}
	screen.say("cancel requested; the execution is %s", record.Status)
	return exitError(exitInterrupted)
}
