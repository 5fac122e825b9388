package main

import (
	"context"
	"fmt"
	"os"

	"boomerang/internal/client"
	"boomerang/internal/execution"
)

type logsCmd struct {
	serverFlags
	ID     execution.ID `arg:"" help:"ID of the execution." name:"execution-id"`
	Follow bool         `help:"Print new output until the execution ends." short:"f"`
	Quiet  bool         `help:"Print only the output of the program." short:"q"`
}

// Help implements kong.HelpProvider.
func (logsCmd) Help() string {
	return `The command prints the output of the program so far: its stdout on stdout, its stderr on stderr. With -f
it prints new output, too. It reconnects after a broken connection and after a restart of the server. Ctrl-C ends the
command, not the program.

  boomerang logs -f exec_06bfnl7t8g3k5m2q9r4s1v0abc`
}

// Run prints the output of the execution.
func (l *logsCmd) Run(ctx context.Context) error {
	server, err := l.connect()
	if err != nil {
		return err
	}
	if !l.Follow {
		return l.printStored(ctx, server)
	}
	screen := newScreen(l.ID, l.Quiet)
	record, err := server.Follow(ctx, l.ID, screen.show)
	if err != nil {
		screen.endLine()
		if ctx.Err() != nil {
			return exitError(exitInterrupted)
		}
		return err
	}
	screen.showEnd(record)
	return nil
}

func (l *logsCmd) printStored(ctx context.Context, server *client.Client) error {
	for _, s := range []struct {
		name execution.Stream
		to   *os.File
	}{{execution.Stdout, os.Stdout}, {execution.Stderr, os.Stderr}} {
		output, err := server.Output(ctx, l.ID, s.name)
		if err != nil {
			return err
		}
		if _, err := s.to.Write(output); err != nil {
			return fmt.Errorf("print output: %w", err)
		}
	}
	return nil
}
