package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

type workspacesCmd struct {
	List   workspacesListCmd   `cmd:"" help:"List workspaces."`
	Files  workspacesFilesCmd  `cmd:"" help:"List the files of a workspace."`
	Put    workspacesPutCmd    `cmd:"" help:"Upload a file. A missing workspace is created."`
	Get    workspacesGetCmd    `cmd:"" help:"Download a file."`
	Rm     workspacesRmCmd     `cmd:"" help:"Delete a file, or a directory with its content."`
	Delete workspacesDeleteCmd `cmd:"" help:"Delete a workspace with its content."`
}

// Help implements kong.HelpProvider.
func (workspacesCmd) Help() string {
	return `The files that a program writes to /workspace are there for the next program that uses the same workspace.

  boomerang workspaces put reports data/january.csv january.csv
  boomerang run sum.py --workspace reports
  boomerang workspaces files reports
  boomerang workspaces get reports sum.csv > sum.csv`
}

type workspacesListCmd struct{ callFlags }

// Run lists the workspaces.
func (l *workspacesListCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := l.connect()
	if err != nil {
		return err
	}
	list, err := server.Workspaces(ctx)
	if err != nil {
		return err
	}
	if l.JSON {
		return printJSON(k.Stdout, append([]wire.Workspace{}, list...)) // [] instead of null
	}
	rows := make([][]string, 0, len(list))
	for _, w := range list {
		user := "-"
		if w.Writer != nil {
			user = string(*w.Writer)
		}
		rows = append(rows, []string{
			w.Name, strconv.FormatInt(w.Size, 10), strconv.Itoa(w.Entries),
			w.UsedAt.Local().Format(time.DateTime), user,
		})
	}
	return printTable(k.Stdout, []string{"NAME", "BYTES", "ENTRIES", "USED", "IN USE BY"}, rows)
}

type workspacesFilesCmd struct {
	callFlags
	Name   string `arg:"" help:"Name of the workspace."`
	Prefix string `arg:"" optional:"" help:"Show only paths with this prefix, for example data/."`
}

// Run lists the files.
func (f *workspacesFilesCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := f.connect()
	if err != nil {
		return err
	}
	list, err := server.WorkspaceFiles(ctx, f.Name, f.Prefix)
	if err != nil {
		return err
	}
	if f.JSON {
		return printJSON(k.Stdout, append([]wire.WorkspaceFile{}, list...)) // [] instead of null
	}
	w := tabwriter.NewWriter(k.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, f := range list {
		mode, suffix := "-", ""
		if f.Mode != nil {
			mode = *f.Mode
		}
		switch f.Type {
		case execution.EntryDir:
			suffix = "/"
		case execution.EntryLink:
			suffix = fmt.Sprintf(" -> %q", *f.Target)
		case execution.EntryFile:
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t %s%s\n", mode, f.Size, printable(f.Path), suffix)
	}
	return w.Flush()
}

type workspacesPutCmd struct {
	serverFlags
	Name  string `arg:"" help:"Name of the workspace."`
	Path  string `arg:"" help:"Path of the file in the workspace."`
	Local string `arg:"" optional:"" help:"Local file; - is standard input. Default: the same path."`
	Mode  string `help:"Permissions. Default: those of the local file." placeholder:"755"`
}

// Run uploads the file.
func (p *workspacesPutCmd) Run(ctx context.Context) error {
	server, err := p.connect()
	if err != nil {
		return err
	}
	content, mode := io.Reader(os.Stdin), "644"
	if p.Local != "-" {
		local := p.Local
		if local == "" {
			local = p.Path
		}
		f, err := os.Open(local) //nolint:gosec // the user of the command names the file
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // the file is only read
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
	serverFlags
	Name  string `arg:"" help:"Name of the workspace."`
	Path  string `arg:"" help:"Path of the file in the workspace."`
	Local string `arg:"" optional:"" help:"New local file. Default: standard output."`
}

// Run downloads the file.
func (g *workspacesGetCmd) Run(ctx context.Context, k *kong.Kong) (err error) {
	server, err := g.connect()
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
	serverFlags
	Name string `arg:"" help:"Name of the workspace."`
	Path string `arg:"" help:"Path of the file or directory in the workspace."`
}

// Run deletes the file or the directory.
func (r *workspacesRmCmd) Run(ctx context.Context) error {
	server, err := r.connect()
	if err != nil {
		return err
	}
	return server.DeleteFile(ctx, r.Name, r.Path)
}

type workspacesDeleteCmd struct {
	serverFlags
	Name string `arg:"" help:"Name of the workspace."`
}

// Run deletes the workspace.
func (d *workspacesDeleteCmd) Run(ctx context.Context) error {
	server, err := d.connect()
	if err != nil {
		return err
	}
	return server.DeleteWorkspace(ctx, d.Name)
}
