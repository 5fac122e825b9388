package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"boomerang/internal/client"
	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

type workspacesCmd struct {
	List   workspacesListCmd   `cmd:"" help:"List workspaces."`
	Files  workspacesFilesCmd  `cmd:"" help:"List what is in a workspace."`
	Put    workspacesPutCmd    `cmd:"" help:"Put a file into a workspace, which is made if it is not there."`
	Get    workspacesGetCmd    `cmd:"" help:"Get a file out of a workspace."`
	Rm     workspacesRmCmd     `cmd:"" help:"Remove a file, or a directory with all that is in it."`
	Delete workspacesDeleteCmd `cmd:"" help:"Delete a workspace with all that is in it."`
}

// Help says more than one line.
func (workspacesCmd) Help() string {
	return `What a program leaves in /workspace is there for the next one that names the same workspace.

  boomerang workspaces put reports data/january.csv january.csv
  boomerang run sum.py --workspace reports
  boomerang workspaces files reports
  boomerang workspaces get reports sum.csv > sum.csv`
}

type workspacesListCmd struct{ asked }

// Run lists the workspaces.
func (l *workspacesListCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := client.New(l.Server, l.Token)
	if err != nil {
		return err
	}
	list, err := server.Workspaces(ctx)
	if err != nil {
		return err
	}
	if l.JSON {
		return printJSON(k.Stdout, append([]wire.Workspace{}, list...)) // not null
	}
	w := tabwriter.NewWriter(k.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "NAME\tBYTES\tENTRIES\tUSED\tIN USE BY")
	for _, s := range list {
		user := "-"
		if s.Writer != nil {
			user = string(*s.Writer)
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", s.Name, s.Size, s.Entries, s.UsedAt.Local().Format(time.DateTime), user)
	}
	return w.Flush()
}

type workspacesFilesCmd struct {
	asked
	Name   string `arg:"" help:"The workspace."`
	Prefix string `arg:"" optional:"" help:"Only what begins so, like data/."`
}

// Run lists the files.
func (l *workspacesFilesCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := client.New(l.Server, l.Token)
	if err != nil {
		return err
	}
	list, err := server.WorkspaceFiles(ctx, l.Name, l.Prefix)
	if err != nil {
		return err
	}
	if l.JSON {
		return printJSON(k.Stdout, append([]wire.WorkspaceFile{}, list...)) // not null
	}
	w := tabwriter.NewWriter(k.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, f := range list {
		mode, more := "-", ""
		if f.Mode != nil {
			mode = *f.Mode
		}
		switch f.Type {
		case execution.EntryDir:
			more = "/"
		case execution.EntryLink:
			more = fmt.Sprintf(" -> %q", *f.Target)
		case execution.EntryFile:
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t %s%s\n", mode, f.Size, plain(f.Path), more) // a program chose the name
	}
	return w.Flush()
}

// plain writes a name so that a terminal takes it for nothing else.
func plain(name string) string {
	quoted := fmt.Sprintf("%q", name)
	if quoted[1:len(quoted)-1] == name {
		return name
	}
	return quoted
}

type workspacesPutCmd struct {
	remote
	Name  string `arg:"" help:"The workspace."`
	Path  string `arg:"" help:"Where the file is to be in it."`
	Local string `arg:"" optional:"" help:"The file here; - is standard input. Without it, the file of that path."`
	Mode  string `help:"Permissions; without it those of the file here." placeholder:"755"`
}

// Run puts the file.
func (p *workspacesPutCmd) Run(ctx context.Context) error {
	server, err := client.New(p.Server, p.Token)
	if err != nil {
		return err
	}
	content, mode := io.Reader(os.Stdin), "644"
	if p.Local != "-" {
		local := p.Local
		if local == "" {
			local = p.Path
		}
		f, err := os.Open(local) //nolint:gosec // the user names it
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // it is read
		info, err := f.Stat()
		if err != nil {
			return err
		}
		content, mode = f, fmt.Sprintf("%03o", info.Mode().Perm())
	}
	if p.Mode != "" {
		mode = p.Mode
	}
	return server.PutFile(ctx, p.Name, p.Path, mode, content)
}

type workspacesGetCmd struct {
	remote
	Name  string `arg:"" help:"The workspace."`
	Path  string `arg:"" help:"The file in it."`
	Local string `arg:"" optional:"" help:"The file here, which must not be there; without it standard output."`
}

// Run gets the file.
func (g *workspacesGetCmd) Run(ctx context.Context, k *kong.Kong) (err error) {
	server, err := client.New(g.Server, g.Token)
	if err != nil {
		return err
	}
	if g.Local == "" || g.Local == "-" {
		return server.GetFile(ctx, g.Name, g.Path, k.Stdout)
	}
	f, err := os.OpenFile(g.Local, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(server.GetFile(ctx, g.Name, g.Path, f), f.Close())
	if err != nil {
		err = errors.Join(err, os.Remove(g.Local))
	}
	return err
}

type workspacesRmCmd struct {
	remote
	Name string `arg:"" help:"The workspace."`
	Path string `arg:"" help:"The file or directory in it."`
}

// Run removes the file.
func (r *workspacesRmCmd) Run(ctx context.Context) error {
	server, err := client.New(r.Server, r.Token)
	if err != nil {
		return err
	}
	return server.DeleteFile(ctx, r.Name, r.Path)
}

type workspacesDeleteCmd struct {
	remote
	Name string `arg:"" help:"The workspace."`
}

// Run deletes the workspace.
func (d *workspacesDeleteCmd) Run(ctx context.Context) error {
	server, err := client.New(d.Server, d.Token)
	if err != nil {
		return err
	}
	return server.DeleteWorkspace(ctx, d.Name)
}
