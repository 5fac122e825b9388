package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"boomerang/internal/client"
	"boomerang/internal/execution"
	"boomerang/internal/journal"
)

// submission translates the flags and reads the files that they name.
func (r *runCmd) submission() (client.Submission, error) {
	switch {
	case r.Timeout < 1:
		return client.Submission{}, errors.New("--timeout must be at least 1") // 0 would mean the server's default
	case r.ReadOnly && r.Workspace == "":
		return client.Submission{}, errors.New("--read-only requires --workspace")
	case r.File == "-" && r.Language == "":
		return client.Submission{}, errors.New("code from standard input requires --language")
	case r.File == "-" && r.Stdin == "-":
		return client.Submission{}, errors.New("standard input cannot be both the code and --stdin")
	}
	if err := checkSecrets(r.Secret); err != nil {
		return client.Submission{}, err
	}
	code, err := readOrStdin(r.File)
	if err != nil {
		return client.Submission{}, err
	}
	s := client.Submission{
		Code: string(code), CallbackURL: r.CallbackURL, Secrets: r.Secret, IdempotencyKey: journal.NewNonce(),
		Language: r.languageName(), Timeout: r.Timeout, WorkingDir: r.WorkingDir, Args: r.Args, Env: r.Env,
		Name: r.Name, Metadata: r.Metadata, Artifacts: r.Artifact,
		Limits:    r.Limits,
		Workspace: execution.WorkspaceUse{Name: r.Workspace, ReadOnly: r.ReadOnly},
	}
	if r.Stdin != "" {
		text, err := readOrStdin(r.Stdin)
		if err != nil {
			return client.Submission{}, fmt.Errorf("--stdin: %w", err)
		}
		s.Stdin = &client.Bytes{Base64: text}
	}
	for _, flag := range r.Files {
		file, err := readFile(flag)
		if err != nil {
			return client.Submission{}, fmt.Errorf("--file %s: %w", flag, err)
		}
		s.Files = append(s.Files, file)
	}
	return s, nil
}

func readOrStdin(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name) //nolint:gosec // the user of the command names the file
}

// readFile reads the file that PATH[=LOCAL] names, and its permissions.
func readFile(flag string) (client.File, error) {
	path, local, other := strings.Cut(flag, "=")
	if !other {
		path, local = filepath.ToSlash(filepath.Clean(flag)), flag
	}
	content, err := os.ReadFile(local) //nolint:gosec // the user of the command names the file
	if err != nil {
		return client.File{}, err
	}
	info, err := os.Stat(local)
	if err != nil {
		return client.File{}, err
	}
	mode := fmt.Sprintf("%03o", info.Mode().Perm())
	return client.File{Path: path, Bytes: client.Bytes{Base64: content}, Mode: mode}, nil
}

// languageName returns --language, or the language that the extension of the file names. The server resolves aliases
// such as py.
func (r *runCmd) languageName() string {
	extension := strings.TrimPrefix(filepath.Ext(r.File), ".")
	if r.Language != "" || extension == "" {
		return r.Language
	}
	if name, ok := map[string]string{"mjs": "javascript", "cjs": "javascript", "bash": "bash"}[extension]; ok {
		return name
	}
	return extension
}
