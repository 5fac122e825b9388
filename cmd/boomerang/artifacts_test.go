package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"boomerang/internal/client"
	"boomerang/internal/wire"
)

// newArtifactServer returns a client of a server that has these files, and their list.
func newArtifactServer(t *testing.T, files map[string]string) (*client.Client, []wire.Artifact) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := files[strings.TrimPrefix(r.URL.Path, "/executions/exec_1/artifacts/")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"code":"FILE_NOT_FOUND","message":"No such file."}`))
			return
		}
		_, _ = w.Write([]byte(content))
	}))
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, "token")
	if err != nil {
		t.Fatal(err)
	}
	var list []wire.Artifact
	for path, content := range files {
		sum := sha256.Sum256([]byte(content))
		list = append(list, wire.Artifact{
			Path: path, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), Mode: "644",
		})
	}
	slices.SortFunc(list, func(a, b wire.Artifact) int { return strings.Compare(a.Path, b.Path) })
	return c, list
}

// filesBelow returns the content of all files below a directory by their relative path.
func filesBelow(t *testing.T, dir string) (files map[string]string) {
	t.Helper()
	files = make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestDownloadedFilesAreUnchanged(t *testing.T) {
	files := map[string]string{"a": "1", "out/deep/b c%2F?#.txt": "2", "line\nbreak": "3", "...": "", "-rf": "5"}
	c, list := newArtifactServer(t, files)
	list[0].Mode = "755" // "-rf"
	dir := t.TempDir()
	var printed strings.Builder
	flags := downloadFlags{Dir: filepath.Join(dir, "made")}
	if err := flags.download(t.Context(), c, "exec_1", list, &printed); err != nil {
		t.Fatal(err)
	}
	if got := filesBelow(t, filepath.Join(dir, "made")); fmt.Sprint(got) != fmt.Sprint(files) {
		t.Errorf("got %q, want %q", got, files)
	}
	if info, err := os.Stat(filepath.Join(dir, "made", "-rf")); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("got %v, %v, want it executable", info, err)
	}
	if strings.Contains(printed.String(), "line\nbreak") {
		t.Errorf("a line break was printed: %q", printed.String())
	}
}

func TestDownloadsStayBelowTheDirectory(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "here")
	outside := filepath.Join(base, "outside")
	for _, d := range []string{dir, outside} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"link": outside, "leaf": filepath.Join(outside, "leaf")} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	c, list := newArtifactServer(t, map[string]string{"good": "good", "mine": "theirs", "link/a": "x", "leaf": "x"})
	for _, path := range []string{"../a", "/etc/a", "a/../../b", "..", ".", "", "a//b"} {
		list = append(list, wire.Artifact{Path: path})
	}
	other := wire.Artifact{Path: "good", SHA256: strings.Repeat("0", 64), Size: 4}
	for _, force := range []bool{false, true} {
		flags := downloadFlags{Dir: dir, Force: force}
		err := flags.download(t.Context(), c, "exec_1", list, &strings.Builder{})
		if err == nil {
			t.Error("got no error; want one for each bad path")
		}
		want := map[string]string{"good": "good", "mine": "mine"}
		if force {
			want["mine"], want["leaf"] = "theirs", "x" // leaf replaces the link
		}
		if got := filesBelow(t, dir); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("force %v: got %q, want %q", force, got, want)
		}
		if got := filesBelow(t, base); len(got) != len(want) {
			t.Errorf("force %v: got %q, want nothing outside", force, got)
		}
		if err := os.Remove(filepath.Join(dir, "good")); err != nil {
			t.Fatal(err)
		}
		err = flags.download(t.Context(), c, "exec_1", []wire.Artifact{other}, &strings.Builder{})
		if err == nil || filesBelow(t, dir)["good"] != "" {
			t.Errorf("force %v: got %v; want an error and no file if the checksum differs from the list", force, err)
		}
	}
}
