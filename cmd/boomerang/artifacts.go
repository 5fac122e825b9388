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
	remote
	ID    execution.ID `arg:"" help:"The execution."`
	Paths []string     `arg:"" optional:"" name:"path" help:"The files to download; without any, and without --output-dir, they are listed."`
	saving
}

// saving are the flags that say where files go.
type saving struct {
	Dir   string `name:"output-dir" short:"o" help:"Download into this directory, which is made; without paths all of them." placeholder:"DIR"`
	Force bool   `help:"Replace files that are there."`
}

// Help says more than one line.
func (artifactsCmd) Help() string {
	return `The files that a program left and that its submission asked for ("artifacts", or boomerang run --artifact).

  boomerang artifacts exec_…
  boomerang artifacts exec_… out/model.pt -o results
  boomerang artifacts exec_… -o results

Nothing is written outside of the directory, and nothing that is there is replaced without --force. The exit code is 1 when a
file could not be had.`
}

// Run lists or downloads.
func (a *artifactsCmd) Run(ctx context.Context, k *kong.Kong) error {
	server, err := client.New(a.Server, a.Token)
	if err != nil {
		return err
	}
	left, err := server.Artifacts(ctx, a.ID)
	if err != nil {
		return err
	}
	if len(a.Paths) == 0 && a.Dir == "" {
		return printArtifacts(k.Stdout, left)
	}
	wanted := left.Artifacts
	if len(a.Paths) > 0 {
		if wanted, err = chosen(left, a.Paths); err != nil {
			return err
		}
	}
	if a.Dir == "" {
		a.Dir = "."
	}
	return a.save(ctx, server, a.ID, wanted, k.Stdout)
}

// chosen finds the named files in the list.
func chosen(left client.Artifacts, paths []string) (found []wire.Artifact, err error) {
	for _, name := range paths {
		i := slices.IndexFunc(left.Artifacts, func(a wire.Artifact) bool { return a.Path == name })
		if i < 0 {
			return nil, fmt.Errorf("it has left no file %q", name)
		}
		found = append(found, left.Artifacts[i])
	}
	return found, nil
}

func printArtifacts(w io.Writer, left client.Artifacts) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, a := range left.Artifacts {
		_, _ = fmt.Fprintf(table, "%d\t%s\t  %s\n", a.Size, a.Mode, printable(a.Path))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, line := range omissions(left) {
		_, _ = fmt.Fprintln(w, line)
	}
	return nil
}

// omissions tells what is not there.
func omissions(left client.Artifacts) (lines []string) {
	for _, o := range left.Omitted {
		lines = append(lines, fmt.Sprintf("left out: %s (%s)", printable(o.Path), o.Reason))
	}
	if more := left.OmittedCount - len(left.Omitted); more > 0 {
		lines = append(lines, fmt.Sprintf("left out: %d more", more))
	}
	if left.Cut != nil {
		lines = append(lines, fmt.Sprintf("not everything was looked at (%s)", *left.Cut))
	}
	if !left.Status.Terminal() {
		lines = append(lines, fmt.Sprintf("it is %s; files come when it has ended", left.Status))
	}
	return lines
}

// printable quotes a name that would do something to a terminal.
func printable(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// save downloads files. It goes on behind one that cannot be had.
func (s saving) save(ctx context.Context, server *client.Client, id execution.ID, files []wire.Artifact, w io.Writer) (err error) {
	if err := os.MkdirAll(s.Dir, 0o750); err != nil {
		return err
	}
	root, err := os.OpenRoot(s.Dir) // whatever a name says, and whatever link lies there, it leads nowhere else
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	var failed []error
	for _, f := range files {
		if err := s.saveOne(ctx, server, id, f, root); err != nil {
			failed = append(failed, err)
			continue
		}
		_, _ = fmt.Fprintln(w, printable(filepath.Join(s.Dir, filepath.FromSlash(f.Path))))
	}
	return errors.Join(failed...)
}

func (s saving) saveOne(ctx context.Context, server *client.Client, id execution.ID, f wire.Artifact, root *os.Root) (err error) {
	name, err := filepath.Localize(f.Path)
	if err != nil || f.Path == "." {
		return fmt.Errorf("%s is no name for a file here", printable(f.Path))
	}
	if dir := path.Dir(f.Path); dir != "." {
		if err := root.MkdirAll(filepath.FromSlash(dir), 0o750); err != nil {
			return err
		}
	}
	if s.Force {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	mode := fs.FileMode(0o640)
	if strings.ContainsAny(f.Mode, "1357") {
		mode = 0o750
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already; --force replaces it", printable(f.Path))
	}
	if err != nil {
		return err
	}
	err = errors.Join(server.Artifact(ctx, id, f, file), file.Close())
	if err != nil {
		err = errors.Join(err, root.Remove(name))
	}
	return err
}
