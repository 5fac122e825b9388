package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"

	"boomerang/internal/execution"
)

// Mask replaces a value that looks like a secret in the result of Masked. A client that sends Mask back keeps the
// stored value.
const Mask = "***MASKED***"

// Environment returns the variables that every program of the subject gets by default. Errors: fault
// SERVICE_UNAVAILABLE.
func (a *Admission) Environment(ctx context.Context, subject string) (map[string]string, error) {
	sealed, err := a.Store.Environment(ctx, subject)
	if err != nil {
		return nil, err
	}
	return a.unsealEnvironment(subject, sealed)
}

// SetEnvironment replaces the subject's environment with env, or adds env to it if merge is set, and returns the
// result. A value equal to Mask keeps the stored value. Errors are faults that name the field, and then nothing was
// changed.
func (a *Admission) SetEnvironment(
	ctx context.Context, subject string, env map[string]string, merge bool,
) (map[string]string, error) {
	var after map[string]string
	err := a.Store.ChangeEnvironment(ctx, subject, func(sealed execution.Sealed) (execution.Sealed, error) {
		before, err := a.unsealEnvironment(subject, sealed)
		if err != nil && merge { // an environment that cannot be unsealed can still be replaced
			return nil, err
		}
		after = make(map[string]string, len(env))
		if merge {
			maps.Copy(after, before)
		}
		for name, value := range env {
			if stored, there := before[name]; value == Mask && there {
				value = stored
			} else if value == Mask {
				return nil, invalid("env_vars", "env_vars: %s stands for a stored value, and none is stored for %s.",
					Mask, truncate(name)).Detail("key", truncate(name))
			}
			after[name] = value
		}
		if err := a.checkVariables("env_vars", after); err != nil {
			return nil, err
		}
		plain, err := marshalNonEmpty(after)
		if err != nil {
			return nil, fmt.Errorf("encode environment: %w", err)
		}
		return a.Sealer.Seal(sealID(subject), execution.FieldEnvironment, plain), nil
	})
	return after, err
}

// Reseal seals environments again with the current key, so that older keys can be retired: environments are kept for
// ever. An environment that cannot be unsealed is left unchanged and is named in the error.
func (a *Admission) Reseal(ctx context.Context) error {
	subjects, err := a.Store.Environments(ctx)
	errs := []error{err}
	for _, subject := range subjects {
		sealed, err := a.Store.Environment(ctx, subject)
		if err == nil && !a.Sealer.Current(sealed) {
			_, err = a.SetEnvironment(ctx, subject, nil, true)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("reseal environment of %s: %w", subject, err))
		}
	}
	return errors.Join(errs...)
}

// withEnvironment returns s with the variables of env, the environment of its subject. Variables of s win.
func (a *Admission) withEnvironment(env map[string]string, s Submission) (Submission, error) {
	if len(env) == 0 {
		return s, nil
	}
	env = maps.Clone(env)
	maps.Copy(env, s.Env)
	s.Env = env
	return s, a.checkVariables("env", s.Env)
}

func (a *Admission) unsealEnvironment(subject string, sealed execution.Sealed) (env map[string]string, err error) {
	plain, err := a.Sealer.Unseal(sealID(subject), execution.FieldEnvironment, sealed)
	if err != nil {
		return nil, fmt.Errorf("unseal environment: %w", err)
	}
	if len(plain) == 0 {
		return map[string]string{}, nil
	}
	if err := json.Unmarshal(plain, &env); err != nil {
		return nil, errors.New("decode environment: it is not an object of strings")
	}
	return env, nil
}

// sealID returns the id that a subject's environment is sealed under. No execution has a field of this name, so a
// subject's name cannot collide with an execution's id.
func sealID(subject string) execution.ID { return execution.ID(subject) }

// secretNameForm matches the name of a variable whose value is probably secret.
var secretNameForm = regexp.MustCompile(
	`(?i)KEY|SECRET|PASS|PWD|TOKEN|CREDENTIAL|AUTH|PRIVATE|SIGNATURE|COOKIE|DSN|CERT`,
)

// Masked returns env with Mask in place of each value that looks like a secret: by its name, or because it is a URL
// with a password.
func Masked(env map[string]string) map[string]string {
	shown := make(map[string]string, len(env))
	for name, value := range env {
		if secretNameForm.MatchString(name) || hasPassword(value) {
			value = Mask
		}
		shown[name] = value
	}
	return shown
}

// hasPassword reports whether a value is a URL with a password. It does not use url.Parse, which refuses connection
// strings with several hosts, or with % or # in the password.
func hasPassword(value string) bool { return urlPassword.MatchString(value) }

// urlPassword matches a URL with a password. Only digits, or digits and a slash, are a port and no password.
var urlPassword = regexp.MustCompile(`://[^\s/?@]*:([0-9]+|[0-9]*[^\s0-9/?#]\S*)@`)
