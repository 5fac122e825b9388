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

// submission reads the files that the flags name.
func (r *runCmd) submission() (client.Submission, error) {
	switch {
	case r.ReadOnly && r.Workspace == "":
		return client.Submission{}, errors.New("--read-only needs --workspace")
	case r.File == "-" && r.Language == "":
		return client.Submission{}, errors.New("--language is needed for code from standard input")
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
		Code: string(code), CallbackURL: r.CallbackURL, Language: r.language(), Timeout: r.Timeout, WorkingDir: r.WorkingDir,
		Env: r.Env, Secrets: r.Secret, Name: r.Name, Args: r.Args, Metadata: r.Metadata, IdempotencyKey: journal.NewNonce(),
		Limits:    r.Limits,
		Workspace: execution.WorkspaceUse{Name: r.Workspace, ReadOnly: r.ReadOnly},
		Artifacts: r.Artifact,
	}
	if r.Stdin != "" {
		text, err := readOrStdin(r.Stdin)
		if err != nil {
			return client.Submission{}, err
		}
		s.Stdin = &client.Bytes{Base64: text}
	}
	for _, flag := range r.Files {
		file, err := readFile(flag)
		if err != nil {
			return client.Submission{}, err
		}
		s.Files = append(s.Files, file)
	}
	return s, nil
}

func readOrStdin(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name) //nolint:gosec // whoever runs us names the file
}

// readFile reads what PATH[=LOCAL] stands for, with its permissions.
func readFile(flag string) (client.File, error) {
	path, local, other := strings.Cut(flag, "=")
	if !other {
		path, local = filepath.ToSlash(filepath.Clean(flag)), flag
	}
	content, err := os.ReadFile(local) //nolint:gosec // whoever runs us names the file
	if err != nil {
		return client.File{}, err
	}
	info, err := os.Stat(local)
	if err != nil {
		return client.File{}, err
	}
	return client.File{Path: path, Bytes: client.Bytes{Base64: content}, Mode: fmt.Sprintf("%03o", info.Mode().Perm())}, nil
}

// language is what the flag says, or the name that the file's ending stands for; the server knows the aliases.
func (r *runCmd) language() string {
	ending := strings.TrimPrefix(filepath.Ext(r.File), ".")
	if r.Language != "" || ending == "" {
		return r.Language
	}
	if name, ok := map[string]string{"mjs": "javascript", "cjs": "javascript", "bash": "bash"}[ending]; ok {
		return name
	}
	return ending
}
