//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"boomerang/internal/servertest"
)

// pasted matches a block that a reader may paste: a fence of sh below <!-- run -->. A fence of text or json right after
// the block is its output on stdout.
var pasted = regexp.MustCompile("(?ms)^<!-- run -->\n```sh\n(.*?)^```$(?:\n\n```(?:text|json)\n(.*?)^```$)?")

// TestThePastedBlocksOfTheDocumentsWork runs the blocks of each page in one directory, in their order.
func TestThePastedBlocksOfTheDocumentsWork(t *testing.T) {
	h := newHarness(t)
	boomerang := build(t, "../../cmd/boomerang")
	_, port, err := net.SplitHostPort(servertest.FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("http://127.0.0.1:8080", h.url, "host.docker.internal", "127.0.0.1", ":9000", ":"+port)
	for _, page := range []string{"README.md", "docs/QUICKSTART.md", "docs/RECIPES.md"} {
		text, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Fatal(err)
		}
		blocks := pasted.FindAllSubmatch(text, -1)
		if want := bytes.Count(text, []byte("<!-- run -->")); len(blocks) != want || want == 0 {
			t.Errorf("%s: %d blocks to run, %d marks", page, len(blocks), want)
		}
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(boomerang, filepath.Join(dir, "bin", "boomerang")); err != nil {
			t.Fatal(err)
		}
		for i, block := range blocks {
			t.Run(fmt.Sprint(page, " block ", i+1), func(t *testing.T) {
				out, errs := h.paste(t, dir, here.Replace(string(block[1])))
				if !shownAs(string(block[2])).MatchString(blank.ReplaceAllString(out, "")) {
					t.Errorf("%s\nprinted on stdout:\n%s\nand not:\n%s\nstderr:\n%s", block[1], out, block[2], errs)
				}
			})
		}
	}
}

// paste runs a block as a reader's shell would, and ends all that it started.
func (h *harness) paste(t *testing.T, dir, block string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	shell := exec.CommandContext(ctx, "sh", "-eu", "-c", block)
	shell.Dir, shell.Stdout, shell.Stderr, shell.WaitDelay = dir, &out, &errs, time.Second
	shell.Env = append(os.Environ(), "BOOMERANG_SERVER="+h.url, "BOOMERANG_TOKEN="+h.token)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	if err := shell.Run(); err != nil {
		t.Errorf("%s\n%v\nstdout:\n%s\nstderr:\n%s", block, err, &out, &errs)
	}
	return out.String(), errs.String()
}

var blank = regexp.MustCompile(`\s+`)

// shownAs is the pattern of an output as a document shows it: … stands for any text, and white space does not count.
func shownAs(shown string) *regexp.Regexp {
	if shown == "" {
		return regexp.MustCompile("")
	}
	literal := regexp.QuoteMeta(blank.ReplaceAllString(shown, ""))
	return regexp.MustCompile("(?s)^" + strings.ReplaceAll(literal, "…", ".*") + "$")
}
