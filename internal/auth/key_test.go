package auth

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestNewMakesTheKeyOnceAndForItsOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	first, err := New(Config{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	token, err := first.Issue("ann", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	second, err := New(Config{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Authenticate(token); err != nil {
		t.Errorf("after a restart the token is refused: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("got mode %o; want 600", got)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("got %v; want the key file alone", entries)
	}
}

func TestNewAtTheSameTimeAgreesOnOneKey(t *testing.T) {
	dir := t.TempDir()
	keys := make([]string, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			if a, err := New(Config{}, dir); err != nil {
				t.Error(err)
			} else {
				keys[i] = string(a.secret)
			}
		})
	}
	all.Wait()
	for _, key := range keys {
		if key != keys[0] {
			t.Fatalf("got %q and %q; want one key", key, keys[0])
		}
	}
}

func TestNewReadsAKeyThatAnOperatorPutThere(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, " "+testKey+"\n", 0o400)
	a, err := New(Config{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if string(a.secret) != testKey {
		t.Errorf("got key %q; want the text without white space", a.secret)
	}
}

func TestNewRefusesAnInvalidKey(t *testing.T) {
	tests := map[string]struct {
		text string
		mode os.FileMode
		says string
	}{
		"empty":                   {"", 0o600, "32 to 4096 bytes"},
		"short":                   {strings.Repeat("k", 31) + "\n", 0o600, "32 to 4096 bytes"},
		"not a key at all":        {strings.Repeat("k", 4097), 0o600, "32 to 4096 bytes"},
		"other users may read it": {testKey, 0o604, "chmod 600"},
		"the group may read it":   {testKey, 0o640, "chmod 600"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, test.text, test.mode)
			if _, err := New(Config{}, dir); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v; want an error that says %q", err, test.says)
			}
		})
	}
	t.Run("no directory", func(t *testing.T) {
		if _, err := New(Config{}, filepath.Join(t.TempDir(), "missing")); err == nil {
			t.Error("got no error for a data directory that is not there")
		}
	})
	t.Run("a short one is configured", func(t *testing.T) {
		if _, err := New(Config{Key: "secret"}, t.TempDir()); err == nil ||
			!strings.Contains(err.Error(), "key must have at least 32 bytes") {
			t.Errorf("got %v; want an error that names the key", err)
		}
	})
}

func write(t *testing.T, dir, text string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(dir, keyFile)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // regardless of the umask
		t.Fatal(err)
	}
}
