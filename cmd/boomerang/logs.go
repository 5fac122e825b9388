package main

import (
	"context"
	"fmt"
	"os"

	"boomerang/internal/client"
	"boomerang/internal/execution"
)

type logsCmd struct {
	remote
	ID     execution.ID `arg:"" help:"The execution." name:"id"`
	Follow bool         `help:"Go on until it has ended." short:"f"`
	Quiet  bool         `help:"Print nothing but what the program prints." short:"q"`
}

// Help says more than one line.
func (logsCmd) Help() string {
	return `What the program has printed so far: stdout on stdout, stderr on stderr. With -f what it prints from now on, too; a connection that
breaks and a server that is restarted are waited for. Ctrl-C ends the following, not the program.

  boomerang logs -f exec_06bfnl7t8g3k5m2q9r4s1v0abc`
}

// Run shows what the execution prints.
func (l *logsCmd) Run(ctx context.Context) error {
	server, err := client.New(l.Server, l.Token)
	if err != nil {
		return err
	}
	if !l.Follow {
		return l.once(ctx, server)
	}
	shown := newScreen(l.ID, l.Quiet)
	record, err := server.Follow(ctx, l.ID, shown.show)
	if err != nil {
		shown.settle()
		if ctx.Err() != nil {
			return exitError(exitInterrupted)
		}
		return err
	}
	shown.ended(record)
	return nil
}

func (l *logsCmd) once(ctx context.Context, server *client.Client) error {
	for _, s := range []struct {
		name execution.Stream
		to   *os.File
	}{{execution.Stdout, os.Stdout}, {execution.Stderr, os.Stderr}} {
		kept, err := server.Output(ctx, l.ID, s.name)
		if err != nil {
			return err
		}
		if _, err := s.to.Write(kept); err != nil {
			return fmt.Errorf("print output: %w", err)
		}
	}
	return nil
}
