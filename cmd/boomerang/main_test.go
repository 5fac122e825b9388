package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func TestAWrongValueIsRejectedWithTheNameOfItsFlag(t *testing.T) {
	for line, flag := range map[string]string{
		"serve --role half":                      "--role",
		"token --sub me --scope root":            "--scope",
		"keys api --sub me --scope root":         "--scope",
		"callbacks list --token t --status gone": "--status",
		"callbacks list --token t --since ever":  "--since",
		"run a.py --token t --timeout long":      "--timeout",
		"run a.py --token t --env NAME":          "--env",
	} {
		_, err := kong.Must(&cli{}).Parse(strings.Fields(line))
		if err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: got %v; want an error that names %s", line, err, flag)
		}
	}
}

func TestServeRejectsAWrongAddressBeforeItCreatesTheDataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	err := runCommand(t, "serve", "--addr", "nowhere", "--data-dir", dir)
	if err == nil || !strings.Contains(err.Error(), "http.addr") {
		t.Errorf("got %v; want an error that names http.addr", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the data directory exists: %v", err)
	}
}
