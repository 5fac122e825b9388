// Command boomerang runs code in fresh containers and posts the signed results back.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version is set by the linker.
var version = "dev"

// cli is the whole command line.
type cli struct {
	Serve      serveCmd      `cmd:"" help:"Run the server."`
	Token      tokenCmd      `cmd:"" help:"Print a token for the API."`
	Revoke     revokeCmd     `cmd:"" help:"Refuse tokens from now on, without a restart."`
	Run        runCmd        `cmd:"" help:"Run a file on a server, print its output, and exit with its exit code."`
	Logs       logsCmd       `cmd:"" help:"Print the output of an execution."`
	Listen     listenCmd     `cmd:"" help:"Receive callbacks, verify their signatures, and print them."`
	Verify     verifyCmd     `cmd:"" help:"Verify the signature of one callback."`
	Artifacts  artifactsCmd  `cmd:"" help:"List or download the artifacts of an execution."`
	Callbacks  callbacksCmd  `cmd:"" help:"Inspect callbacks, send them again, and test receivers."`
	Workspaces workspacesCmd `cmd:"" help:"Manage the files that outlive executions."`
	Backup     backupCmd     `cmd:"" help:"Copy the data directory while the server runs."`
	Keys       keysCmd       `cmd:"" help:"Manage encryption keys, and make API keys."`
	Doctor     doctorCmd     `cmd:"" help:"Attack the server's containers from inside, and report the result."`
	Network    networkCmd    `cmd:"" help:"Create, check and remove the networks of programs."`
	Proxy      proxyCmd      `cmd:"" help:"Run the proxy of the network \"proxy\"."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// Exit codes, besides 0.
const (
	exitFailure     = 1
	exitUsage       = 2   // the command line is wrong, or a check could not be made
	exitNotRun      = 125 // the program has no exit code of its own; docker run uses the same number
	exitInterrupted = 130 // 128 + SIGINT
)

// exitError is the exit code of a command that has printed its own error message.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exit replaces the exit code that kong uses for a wrong command line by the usual one.
func exit(code int) {
	const kongUsage = 80
	if code == kongUsage {
		code = exitUsage
	}
	os.Exit(code)
}

func main() {
	// The first signal ends the context, and the command shuts down in order. The second signal ends the process at
	// once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)

	usage := kong.ShortUsageOnError()
	if len(os.Args) == 1 {
		usage = kong.UsageOnError()
	}
	parser := kong.Must(&cli{},
		kong.Name("boomerang"),
		kong.Description("Run code in fresh containers and receive the signed results.\n\n"+
			"Start with `boomerang serve`, make a token with `boomerang token --sub me`, "+
			"then run code with `boomerang run hello.py`."),
		usage,
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	command, err := parser.Parse(os.Args[1:])
	if err != nil {
		parser.Stdout = os.Stderr // the usage is part of the error message
	}
	parser.FatalIfErrorf(err)
	err = command.Run()
	if code, ok := errors.AsType[exitError](err); ok {
		os.Exit(int(code))
	}
	parser.FatalIfErrorf(err)
}

// printError prints the message of an error whose exit code is not 1.
func printError(err error) { fmt.Fprintf(os.Stderr, "boomerang: error: %v\n", err) }
