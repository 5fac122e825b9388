package admission

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"boomerang/internal/callback"
	"boomerang/internal/fault"
	"boomerang/internal/workspace"
)

const tmpDir = "/tmp" // programs may write here beside their workspace

const (
	maxPath     = 1024 // bytes of a working directory
	maxPathPart = 255  // bytes of one part of a path: the file system's NAME_MAX
	maxSecret   = 1024 // bytes
	maxSecrets  = 3    // number of secrets that sign a callback
	maxName     = 255  // bytes of an execution's name
	maxKey      = 255  // characters of an idempotency key
	maxDepth    = 3    // callbacks in a row that lead to a submission
)

// HeaderKey names the idempotency key in a fault: the key comes as a header, not in the body.
const HeaderKey = "Idempotency-Key"

// checkFields applies every rule that does not depend on the language, in the order in which the API lists the fields.
func (a *Admission) checkFields(s Submission) error {
	for _, rule := range []func(Submission) error{
		checkName, a.checkCode, a.checkCallback, a.checkTimeout, checkWorkingDir, a.checkEnv, a.checkHeaders,
		checkSecrets, a.checkArgs, a.checkStdin, a.checkFiles, checkArtifacts, checkMetadata, checkWorkspace, checkKey,
		checkDepth,
	} {
		if err := rule(s); err != nil {
			return err
		}
	}
	return nil
}

// CheckCallback applies only the rules of a submission's callback. Errors are faults that name the field.
func (a *Admission) CheckCallback(s Submission) error {
	for _, rule := range []func(Submission) error{a.checkCallback, a.checkHeaders, checkSecrets} {
		if err := rule(s); err != nil {
			return err
		}
	}
	return nil
}

func checkName(s Submission) error {
	if len(s.Name) > maxName {
		return invalid("name", "name must have at most %d bytes.", maxName)
	}
	return nil
}

func (a *Admission) checkCode(s Submission) error {
	switch {
	case s.Code == "":
		return missing("code")
	case len(s.Code) > int(a.config.Code):
		return tooLarge("code", "code must have at most %d bytes, not %d.", int(a.config.Code), len(s.Code))
	}
	return nil
}

func (a *Admission) checkCallback(s Submission) error {
	if s.Background {
		return nil
	}
	if s.CallbackURL == "" {
		return missing("callback_url")
	}
	return a.Policy.CheckURL(s.CallbackURL)
}

func (a *Admission) checkTimeout(s Submission) error {
	if seconds := int64(a.maxTimeout(s) / time.Second); s.Timeout < 0 || s.Timeout > seconds {
		s.Timeout = 0
		return invalid("timeout", "timeout must be between 1 and %d seconds; 0 stands for %d.",
			seconds, int64(a.timeout(s)/time.Second))
	}
	return nil
}

func checkWorkingDir(s Submission) error {
	dir := s.WorkingDir
	switch {
	case dir == "":
		return nil
	case isTooLong(dir):
		return invalid("working_dir", "working_dir must have at most %d bytes, and at most %d between two slashes.",
			maxPath, maxPathPart)
	case strings.ContainsRune(dir, 0):
		return invalid("working_dir", "working_dir must not contain a NUL.")
	case !path.IsAbs(dir):
		return invalid("working_dir", "working_dir must be an absolute path.")
	case path.Clean(dir) != dir:
		return invalid("working_dir",
			`working_dir must be written without "." and "..", without double slashes and without a slash at its end.`)
	case !within(dir, workspace.Dir) && !within(dir, tmpDir):
		return invalid("working_dir", "working_dir must be %s or %s, or lie within one of them.", workspace.Dir, tmpDir)
	}
	return nil
}

// isTooLong reports whether a path or one of its parts is longer than the file system allows.
func isTooLong(path string) bool {
	return len(path) > maxPath ||
		slices.ContainsFunc(strings.Split(path, "/"), func(part string) bool { return len(part) > maxPathPart })
}

// within reports whether the clean path dir is root or below it.
func within(dir, root string) bool { return dir == root || strings.HasPrefix(dir, root+"/") }

// envNameForm is the form of a variable's name in a shell (POSIX.1-2017, base definitions, 3.235).
var envNameForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (a *Admission) checkEnv(s Submission) error { return a.checkVariables("env", s.Env) }

// checkVariables checks environment variables. The parameter field is their name in the request.
func (a *Admission) checkVariables(field string, env map[string]string) error {
	if len(env) > a.config.Env.Entries {
		return invalid(field, "%s must have at most %d entries, not %d.", field, a.config.Env.Entries, len(env))
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(env)) {
		size += len(name) + len("=") + len(env[name]) + len("\x00")
		switch {
		case size > int(a.config.Env.Size):
			return invalid(field, "%s must have at most %d bytes in all, counted as NAME=value and one more each.",
				field, int(a.config.Env.Size)).
				Detail("key", truncate(name))
		case !envNameForm.MatchString(name):
			return invalid(field,
				"%s: %q is not a valid variable name: use letters, digits and underscores, and no digit first.", field,
				truncate(name)).
				Detail("key", truncate(name))
		case strings.ContainsRune(env[name], 0):
			return invalid(field, "%s: the value of %s must not contain a NUL.",
				field, truncate(name)).Detail("key", truncate(name))
		}
	}
	return nil
}

func (a *Admission) checkHeaders(s Submission) error { return a.Policy.CheckHeaders(s.CallbackHeaders) }

func checkSecrets(s Submission) error {
	if len(s.Secrets) > maxSecrets {
		return invalid("callback_signature_secret", "callback_signature_secret must have at most %d secrets, not %d.",
			maxSecrets, len(s.Secrets))
	}
	for i, secret := range s.Secrets {
		field := "callback_signature_secret"
		if len(s.Secrets) > 1 {
			field = fmt.Sprintf("%s[%d]", field, i)
		}
		if secret == "" {
			return invalid(field, "%s must not be empty.", field)
		}
		if len(secret) > maxSecret {
			return invalid(field, "%s must have at most %d bytes.", field, maxSecret)
		}
		if err := callback.CheckSecret(secret); err != nil {
			return invalid(field, "%s: %v.", field, err)
		}
	}
	return nil
}

func checkKey(s Submission) error {
	invisible := func(r rune) bool { return r < '!' || '~' < r }
	if len(s.IdempotencyKey) > maxKey || strings.ContainsFunc(s.IdempotencyKey, invisible) {
		return invalid(HeaderKey, "%s must be 1 to %d visible ASCII characters.", HeaderKey, maxKey)
	}
	return nil
}

// checkDepth ends a loop of executions that post their results to this server as new submissions.
func checkDepth(s Submission) error {
	if s.Depth > maxDepth {
		return fault.New(fault.CallbackNotAllowed, "%d callbacks in a row led to this submission; %d are allowed.",
			s.Depth, maxDepth).Field(callback.HeaderDepth)
	}
	return nil
}

func missing(field string) *fault.Error {
	return fault.New(fault.MissingParameter, "%s is required.", field).Field(field)
}

func invalid(field, format string, args ...any) *fault.Error {
	return fault.New(fault.InvalidRequest, format, args...).Field(field)
}

func tooLarge(field, format string, args ...any) *fault.Error {
	return fault.New(fault.PayloadTooLarge, format, args...).Field(field)
}

// truncate shortens a client's own text for use in an error.
func truncate(s string) string {
	const enough = 64
	if len(s) <= enough {
		return s
	}
	return strings.ToValidUTF8(s[:enough], "") + "…"
}
