package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// fakeFetcher is a Fetcher of known files that records its calls.
type fakeFetcher struct {
	books map[string]string
	asked []string
}

func (l *fakeFetcher) Fetch(ctx context.Context, field, url string, limit int) ([]byte, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		return nil, fmt.Errorf("%s may take for ever", field)
	}
	l.asked = append(l.asked, fmt.Sprint(field, " ", url, " ", limit))
	book, ok := l.books[url]
	if !ok || len(book) > limit {
		return nil, fault.New(fault.InvalidRequest, "%s could not be fetched.", field).Field(field)
	}
	return []byte(book), nil
}

func TestAdmitSealsTheInputAndShowsItsSizes(t *testing.T) {
	s := validSubmission()
	s.Name, s.Args, s.Stdin, s.Network = "nightly", []string{"-x", ""}, []byte("in\xff"), "none"
	s.Files = []File{{Path: "a/b", Content: []byte("\x00\xff")}, {Path: "run", Mode: 0o755}}
	s.Limits = execution.Limits{Memory: 16 << 20, CPUs: 0.01, PIDs: 1, Output: 1, Workspace: 64 << 10, Artifacts: 1}
	s.Artifacts = []string{"out/**", "?"}
	s.Metadata = map[string]string{"a": "b"}
	got, _, err := newTestAdmission(t, Defaults(), &fakeStore{}).Admit(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	want := execution.Options{
		Args: 2, Stdin: 3, Files: []execution.FileInfo{{Path: "a/b", Size: 2}, {Path: "run"}}, Limits: s.Limits,
		Metadata: map[string]string{"a": "b"}, Network: "none", Artifacts: []string{"out/**", "?"},
	}
	if diff := cmp.Diff(want, got.Options); diff != "" || got.Name != "nightly" {
		t.Errorf("name %q, the options differ (-want +got):\n%s", got.Name, diff)
	}
	text, sealed := strings.CutPrefix(string(got.Input), string(got.ID)+"/input/")
	var input execution.Input
	if err := json.Unmarshal([]byte(text), &input); err != nil || !sealed {
		t.Fatalf("got %q, %v; want a sealed input", got.Input, err)
	}
	if diff := cmp.Diff(execution.Input{Args: s.Args, Stdin: s.Stdin, Files: []execution.File{
		{Path: "a/b", Mode: 0o600, Content: []byte("\x00\xff")}, {Path: "run", Mode: 0o755},
	}}, input); diff != "" {
		t.Errorf("the input differs (-want +got):\n%s", diff)
	}
}

func TestAdmitRefusesAnInputAndNamesTheField(t *testing.T) {
	files := func(list ...File) func(*Submission) { return func(s *Submission) { s.Files = list } }
	at := func(paths ...string) func(*Submission) {
		var list []File
		for _, p := range paths {
			list = append(list, File{Path: p})
		}
		return files(list...)
	}
	limits := func(l execution.Limits) func(*Submission) { return func(s *Submission) { s.Limits = l } }
	metadata := make(map[string]string)
	for i := range 33 {
		metadata[strconv.Itoa(i)] = ""
	}
	for name, test := range map[string]struct {
		change func(*Submission)
		code   fault.Code
		field  string
	}{
		"a NUL in an argument": {
			func(s *Submission) { s.Args = []string{"a", "\x00"} }, fault.InvalidRequest, "args[1]",
		},
		"257 arguments": {func(s *Submission) { s.Args = make([]string, 257) }, fault.InvalidRequest, "args"},
		"too long arguments": {
			func(s *Submission) { s.Args = []string{strings.Repeat("x", 64<<10)} }, fault.InvalidRequest, "args",
		},
		"too long a stdin": {
			func(s *Submission) { s.Stdin = make([]byte, 1<<20+1) }, fault.PayloadTooLarge, "stdin",
		},
		"101 files":                 {files(make([]File, 101)...), fault.InvalidRequest, "files"},
		"a file without a path":     {at("a", ""), fault.MissingParameter, "files[1].path"},
		"an absolute path":          {at("/workspace/a"), fault.InvalidRequest, "files[0].path"},
		"the parent":                {at("../a"), fault.InvalidRequest, "files[0].path"},
		"a parent within":           {at("a/../b"), fault.InvalidRequest, "files[0].path"},
		"the directory itself":      {at("."), fault.InvalidRequest, "files[0].path"},
		"a dot in front":            {at("./a"), fault.InvalidRequest, "files[0].path"},
		"two slashes":               {at("a//b"), fault.InvalidRequest, "files[0].path"},
		"a slash at the end":        {at("a/"), fault.InvalidRequest, "files[0].path"},
		"a NUL in a path":           {at("a\x00"), fault.InvalidRequest, "files[0].path"},
		"too long a name":           {at(strings.Repeat("n", 256)), fault.InvalidRequest, "files[0].path"},
		"too long a path":           {at(strings.Repeat("n/", 512) + "n"), fault.InvalidRequest, "files[0].path"},
		"one path twice":            {at("a", "b", "a"), fault.InvalidRequest, "files[2].path"},
		"a file below a file":       {at("a", "a/b/c"), fault.InvalidRequest, "files[1].path"},
		"a file above a file":       {at("a/b/c", "a/b"), fault.InvalidRequest, "files[1].path"},
		"the code's own file":       {at("a", "main.py"), fault.InvalidRequest, "files[1].path"},
		"below the code's own file": {at("main.py/a"), fault.InvalidRequest, "files[0].path"},
		"setuid":                    {files(File{Path: "a", Mode: 0o4755}), fault.InvalidRequest, "files[0].mode"},
		"a URL": {
			files(File{Path: "a", URL: "https://example.com/"}), fault.InvalidRequest, "files[0].url",
		},
		"too many bytes of files": {
			files(File{Path: "a", Content: make([]byte, 4<<20)}, File{Path: "b", Content: []byte("x")}),
			fault.PayloadTooLarge, "files",
		},
		"33 globs": {func(s *Submission) { s.Artifacts = make([]string, 33) }, fault.InvalidRequest, "artifacts"},
		"an empty glob": {
			func(s *Submission) { s.Artifacts = []string{"a", ""} }, fault.InvalidRequest, "artifacts[1]",
		},
		"a glob that leads elsewhere": {
			func(s *Submission) { s.Artifacts = []string{"a", "*", "../*"} }, fault.InvalidRequest, "artifacts[2]",
		},
		"an absolute glob": {
			func(s *Submission) { s.Artifacts = []string{"/etc/passwd"} }, fault.InvalidRequest, "artifacts[0]",
		},
		"too large artifacts": {
			limits(execution.Limits{Artifacts: 16<<20 + 1}), fault.InvalidRequest, "limits.artifacts",
		},
		"33 entries of metadata": {func(s *Submission) { s.Metadata = metadata }, fault.InvalidRequest, "metadata"},
		"too large metadata": {
			func(s *Submission) { s.Metadata = map[string]string{"a": strings.Repeat("x", 8<<10)} },
			fault.InvalidRequest, "metadata",
		},
		"another network":     {func(s *Submission) { s.Network = "host" }, fault.InvalidRequest, "network"},
		"too much memory":     {limits(execution.Limits{Memory: 512<<20 + 1}), fault.InvalidRequest, "limits.memory"},
		"too little memory":   {limits(execution.Limits{Memory: 16<<20 - 1}), fault.InvalidRequest, "limits.memory"},
		"negative memory":     {limits(execution.Limits{Memory: -1}), fault.InvalidRequest, "limits.memory"},
		"too many CPUs":       {limits(execution.Limits{CPUs: 1.01}), fault.InvalidRequest, "limits.cpus"},
		"too little of a CPU": {limits(execution.Limits{CPUs: 0.001}), fault.InvalidRequest, "limits.cpus"},
		"too many processes":  {limits(execution.Limits{PIDs: 129}), fault.InvalidRequest, "limits.pids"},
		"too much output":     {limits(execution.Limits{Output: 1<<20 + 1}), fault.InvalidRequest, "limits.output"},
		"too large a workspace": {
			limits(execution.Limits{Workspace: 257 << 20}), fault.InvalidRequest, "limits.workspace",
		},
		"too small a workspace": {limits(execution.Limits{Workspace: 1}), fault.InvalidRequest, "limits.workspace"},
		"the second limit is too low": {
			limits(execution.Limits{Memory: 1 << 28, PIDs: -1}), fault.InvalidRequest, "limits.pids",
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := &fakeStore{}
			s := validSubmission()
			test.change(&s)
			_, _, err := newTestAdmission(t, Defaults(), q).Admit(t.Context(), s)
			f := fault.Of(err)
			if err == nil || f.Code != test.code || f.Details["field"] != test.field ||
				!strings.HasPrefix(f.Sentence, test.field) {
				t.Fatalf("got %v of %v: %v; want %s of %s", f.Code, f.Details["field"], err, test.code, test.field)
			}
			if len(q.given) != 0 {
				t.Errorf("stored %+v; want nothing", q.given)
			}
			if strings.HasPrefix(test.field, "limits.") && (f.Details["max"] == nil || f.Details["min"] == nil) {
				t.Errorf("got %v; want the allowed range", f.Details)
			}
		})
	}
}

func TestAdmitAcceptsTheExtremesOfInput(t *testing.T) {
	for name, change := range map[string]func(*Submission){
		"the longest stdin":    func(s *Submission) { s.Stdin = make([]byte, 1<<20) },
		"the longest argument": func(s *Submission) { s.Args = []string{strings.Repeat("x", 64<<10-1)} },
		"256 arguments":        func(s *Submission) { s.Args = make([]string, 256) },
		"the largest file":     func(s *Submission) { s.Files = []File{{Path: "a", Content: make([]byte, 4<<20)}} },
		"files side by side": func(s *Submission) {
			s.Files = []File{{Path: "a/b"}, {Path: "a/c/d"}, {Path: "ab"}, {Path: "..."}}
		},
		"much like the code": func(s *Submission) { s.Files = []File{{Path: "main.pyx"}, {Path: "a/main.py"}} },
		"every permission":   func(s *Submission) { s.Files = []File{{Path: "a", Mode: 0o777}} },
		"the language's limits": func(s *Submission) {
			s.Limits = execution.Limits{Memory: 512 << 20, CPUs: 1, PIDs: 128, Output: 1 << 20}
		},
		"8 KiB of metadata": func(s *Submission) {
			s.Metadata = map[string]string{"a": strings.Repeat("x", 8<<10-1)}
		},
		"metadata with anything": func(s *Submission) { s.Metadata = map[string]string{"": "\x00"} },
	} {
		q := &fakeStore{}
		s := validSubmission()
		change(&s)
		if _, _, err := newTestAdmission(t, Defaults(), q).Admit(t.Context(), s); err != nil || len(q.given) != 1 {
			t.Errorf("%s: got %v with %d stored; want it stored", name, err, len(q.given))
		}
	}
}

func TestAdmitFetchesFilesLast(t *testing.T) {
	c := Defaults()
	c.Files.URL, c.Files.Size = true, 10
	books := &fakeFetcher{books: map[string]string{"https://a.example/": "four", "https://b.example/": "five5"}}
	q := &fakeStore{}
	a := newTestAdmission(t, c, q)
	a.Fetcher = books
	s := validSubmission()
	s.Files = []File{
		{Path: "a", URL: "https://a.example/"},
		{Path: "own", Content: []byte("x")},
		{Path: "b", URL: "https://b.example/"},
	}
	e, _, err := a.Admit(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	asked := []string{"files[0].url https://a.example/ 9", "files[2].url https://b.example/ 5"}
	if diff := cmp.Diff(asked, books.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	infos := []execution.FileInfo{{Path: "a", Size: 4}, {Path: "own", Size: 1}, {Path: "b", Size: 5}}
	if diff := cmp.Diff(infos, e.Options.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if strings.Contains(fmt.Sprint(e.Options), "example") || s.Files[0].Content != nil {
		t.Errorf("the URL is stored, or the submission was changed: %v, %v", e.Options, s.Files)
	}

	books.asked = nil
	s.Files = append(s.Files, File{Path: "c", URL: "https://c.example/"})
	if _, _, err := a.Admit(t.Context(), s); fault.Of(err).Details["field"] != "files[3].url" {
		t.Errorf("got %v; want files[3].url refused", err)
	}
	books.asked = nil
	s.IdempotencyKey, q.replayed = "k", true
	if again, replayed, err := a.Admit(t.Context(), s); err != nil || !replayed || again.ID != e.ID ||
		len(books.asked) != 0 {
		t.Errorf("sent again: got %s, %t, %v, and %v was fetched; want the stored execution and no fetch",
			again.ID, replayed, err, books.asked)
	}
	s.IdempotencyKey, q.replayed = "", false
	s.Language = "cobol"
	if _, _, err := a.Admit(t.Context(), s); err == nil || len(books.asked) != 0 {
		t.Errorf("got %v, and %v was fetched for nothing", err, books.asked)
	}
	if len(q.given) != 1 {
		t.Errorf("%d are stored; want the first alone", len(q.given))
	}
}

func TestAWorkspaceIsNamedAndMayBeImplicit(t *testing.T) {
	q := &fakeStore{}
	a := newTestAdmission(t, Defaults(), q)
	s := validSubmission()
	s.Workspace = execution.WorkspaceUse{Name: "a.b", ReadOnly: true}
	if e, _, err := a.Admit(t.Context(), s); err != nil || e.Options.Workspace != s.Workspace {
		t.Errorf("got %+v, %v", e.Options, err)
	}
	s.Workspace.Name = "../a"
	if _, _, err := a.Admit(t.Context(), s); fault.Of(err).Details["field"] != "workspace" {
		t.Errorf("got %v, want the field named", err)
	}
	for implicit, want := range map[bool]string{false: "", true: "default"} {
		a.Workspaces.Implicit = implicit
		if e, _, err := a.Admit(t.Context(), validSubmission()); err != nil ||
			e.Options.Workspace != (execution.WorkspaceUse{Name: want}) {
			t.Errorf("implicit %t: got %+v, %v", implicit, e.Options.Workspace, err)
		}
	}
}

// blockingFetcher is a Fetcher that waits for the test's answer.
type blockingFetcher struct{ asked, answer chan struct{} }

func (d blockingFetcher) Fetch(context.Context, string, string, int) ([]byte, error) {
	d.asked <- struct{}{}
	<-d.answer
	return nil, nil
}

func TestTheNumberOfFetchingSubmissionsPerSubjectIsLimited(t *testing.T) {
	c := Defaults()
	c.Files.URL = true
	a := newTestAdmission(t, c, &fakeStore{})
	d := blockingFetcher{make(chan struct{}), make(chan struct{})}
	a.Fetcher = d
	s := validSubmission()
	s.Files = []File{{Path: "a", URL: "https://a.example/"}}
	var judged sync.WaitGroup
	fetch := func(s Submission) {
		judged.Go(func() {
			if _, err := a.fetchFiles(t.Context(), s); err != nil {
				t.Errorf("%s: %v", s.Subject, err)
			}
		})
		<-d.asked
	}
	for range maxFetching {
		fetch(s)
	}
	if _, _, err := a.Admit(t.Context(), s); err == nil || fault.Of(err).Code != fault.RateLimitExceeded ||
		fault.Of(err).RetryAfter == 0 {
		t.Errorf("one more: got %v; want it refused for now", err)
	}
	ben := s
	ben.Subject = "ben"
	fetch(ben)
	close(d.answer)
	judged.Wait()
	for range maxFetching + 1 { // one after another: the quota was released
		fetch(s)
		judged.Wait()
	}
}
