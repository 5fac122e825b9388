package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"boomerang/internal/client"
	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

type artifactsCmd struct {
	serverFlags
	ID    execution.ID `arg:"" help:"ID of the execution." name:"execution-id"`
	Paths []string     `arg:"" optional:"" name:"path" help:"Artifacts to download."`
	downloadFlags
}

// downloadFlags are the flags of commands that download artifacts.
type downloadFlags struct {
	Dir   string `name:"output-dir" short:"o" help:"Directory to download artifacts to." placeholder:"DIR"`
	Force bool   `help:"Replace existing files."`
}

// Help implements kong.HelpProvider.
func (artifactsCmd) Help() string {
	return `Artifacts are the files of a program that the submission asked to keep ("artifacts", or boomerang run
--artifact). Without a path and without --output-dir the command lists them. With --output-dir and without a path it
downloads all of them.

  boomerang artifacts exec_…
  boomerang artifacts exec_… out/model.pt -o results
  boomerang artifacts exec_… -o results

The command writes only below the directory, and replaces existing files only with --force. The exit code is 1 if a
download fails.`
}

// Run lists or downloads artifacts.
func (a *artifactsCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := a.connect()
	if err != nil {
		return err
	}
	list, err := server.Artifacts(ctx, a.ID)
	if err != nil {
		return err
	}
	if len(a.Paths) == 0 && a.Dir == "" {
		return printArtifacts(k.Stdout, list)
	}
	wanted := list.Artifacts
	if len(a.Paths) > 0 {
		if wanted, err = selectArtifacts(list, a.Paths); err != nil {
			return err
		}
	}
	if a.Dir == "" {
		a.Dir = "."
	}
	return a.download(ctx, server, a.ID, wanted, k.Stdout)
}

// selectArtifacts returns the artifacts with the given paths.
func selectArtifacts(list client.Artifacts, paths []string) (found []wire.Artifact, err error) {
	for _, name := range paths {
		i := slices.IndexFunc(list.Artifacts, func(a wire.Artifact) bool { return a.Path == name })
		if i < 0 {
			return nil, fmt.Errorf("the execution has no artifact %q", name)
		}
		found = append(found, list.Artifacts[i])
	}
	return found, nil
}

func printArtifacts(w io.Writer, list client.Artifacts) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, a := range list.Artifacts {
		_, _ = fmt.Fprintf(table, "%d\t%s\t  %s\n", a.Size, a.Mode, printable(a.Path))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, line := range omissions(list) {
		_, _ = fmt.Fprintln(w, line)
	}
	return nil
}

// omissions returns a line for each file that was not kept, and for each reason why the list may be incomplete.
func omissions(list client.Artifacts) (lines []string) {
	for _, o := range list.Omitted {
		lines = append(lines, fmt.Sprintf("left out: %s (%s)", printable(o.Path), o.Reason))
	}
	if more := list.OmittedCount - len(list.Omitted); more > 0 {
		lines = append(lines, fmt.Sprintf("left out: %d more", more))
	}
	if list.Cut != nil {
		lines = append(lines, fmt.Sprintf("the search stopped early (%s)", *list.Cut))
	}
	if !list.Status.Terminal() {
		lines = append(lines, fmt.Sprintf("the execution is %s; artifacts are available after its end", list.Status))
	}
	return lines
}

// printable quotes a name that contains control characters, which could steer a terminal.
func printable(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// download writes files below the directory and prints their names. After a failed file it continues with the next one.
func (f downloadFlags) download(
	ctx context.Context, server *client.Client, id execution.ID, files []wire.Artifact, w io.Writer,
) (err error) {
	if err := os.MkdirAll(f.Dir, 0o750); err != nil {
		return err
	}
	root, err := os.OpenRoot(f.Dir) // neither a name nor an existing link leads outside of the directory
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	var failed []error
	for _, file := range files {
		if err := f.downloadFile(ctx, server, id, file, root); err != nil {
			failed = append(failed, err)
			continue
		}
		_, _ = fmt.Fprintln(w, printable(filepath.Join(f.Dir, filepath.FromSlash(file.Path))))
	}
	return errors.Join(failed...)
}

func (f downloadFlags) downloadFile(
	ctx context.Context, server *client.Client, id execution.ID, a wire.Artifact, root *os.Root,
) (err error) {
	name, err := filepath.Localize(a.Path)
	if err != nil || a.Path == "." {
		return fmt.Errorf("%s is not a valid file name here", printable(a.Path))
	}
	if dir := path.Dir(a.Path); dir != "." {
		if err := root.MkdirAll(filepath.FromSlash(dir), 0o750); err != nil {
			return err
		}
	}
	if f.Force {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	mode := fs.FileMode(0o640)
	if strings.ContainsAny(a.Mode, "1357") {
		mode = 0o750
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already; --force replaces it", printable(a.Path))
	}
	if err != nil {
		return err
	}
	err = errors.Join(server.Artifact(ctx, id, a, file), file.Close())
	if err != nil {
		err = errors.Join(err, root.Remove(name))
	}
	return err
}
