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
	Run        runCmd        `cmd:"" help:"Run a file on a server, follow it, and exit with its exit code."`
	Logs       logsCmd       `cmd:"" help:"Print what an execution has printed, or follow it."`
	Listen     listenCmd     `cmd:"" help:"Receive callbacks, verify their signatures, and print them."`
	Verify     verifyCmd     `cmd:"" help:"Verify the signature of one callback."`
	Artifacts  artifactsCmd  `cmd:"" help:"List or download the files that an execution left."`
	Callbacks  callbacksCmd  `cmd:"" help:"Look at callbacks, send them again, try receivers out."`
	Workspaces workspacesCmd `cmd:"" help:"Files that outlive executions: list, put, get, delete."`
	Backup     backupCmd     `cmd:"" help:"Copy the data directory while the server runs."`
	Keys       keysCmd       `cmd:"" help:"The keys that seal what is stored: list, rotate, retire. And API keys."`
	Doctor     doctorCmd     `cmd:"" help:"Attack the containers that the server would run programs in, and report which walls held."`
	Network    networkCmd    `cmd:"" help:"The networks that programs may be on: make them, try to get out of them, remove them."`
	Proxy      proxyCmd      `cmd:"" help:"Run the proxy that is the only way out for programs on the network proxy."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// exitError says which code to exit with; everything else was said already.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exitUsage is the exit code of a command line that cannot be read, here as in most programs; kong's own is another.
const (
	exitUsage     = 2
	exitUsageKong = 80
)

func exit(code int) {
	if code == exitUsageKong {
		code = exitUsage
	}
	os.Exit(code)
}

func main() {
	// The first signal ends the context and everything stops in order; the second one ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)

	parser := kong.Must(&cli{},
		kong.Name("boomerang"),
		kong.Description("Throw code at it, a signed result comes back.\n\nStart with `boomerang serve`, make a token with `boomerang token --sub me`, then `boomerang run hello.py`."),
		kong.UsageOnError(),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	command, err := parser.Parse(os.Args[1:])
	parser.FatalIfErrorf(err)
	err = command.Run()
	if code, ok := errors.AsType[exitError](err); ok {
		os.Exit(int(code))
	}
	parser.FatalIfErrorf(err)
}
