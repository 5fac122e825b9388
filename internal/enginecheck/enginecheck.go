// Package enginecheck finds out whether the container engine is fit to run executions: which facts about it deserve a
// warning, whether it starts containers, and which images it has.
//
// It does not know executions, HTTP and SQL.
package enginecheck

import (
	"context"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/docker"
)

// Deps are the collaborators and settings of a Checker.
type Deps struct {
	Engine    *docker.Docker
	Catalogue *language.Catalogue
	Limits    execution.WorkspaceLimits
	Strict    bool        // an engine with warnings is an error
	Pull      docker.Pull // whether missing images may be pulled
	Log       *logrus.Entry
}

// Checker knows the health of one engine. Its methods may be called at the same time.
type Checker struct {
	engine *docker.Docker
	facts  *facts
	starts *starts
	images images
	limits execution.WorkspaceLimits
}

// New makes a checker. It does not call the engine.
func New(deps Deps) *Checker {
	return &Checker{
		engine: deps.Engine,
		facts:  &facts{engine: deps.Engine, strict: deps.Strict, log: deps.Log},
		starts: newStarts(deps.Log),
		images: images{engine: deps.Engine, catalogue: deps.Catalogue, pull: deps.Pull},
		limits: deps.Limits,
	}
}

// CheckAtStart logs the facts about the engine. Errors: docker.ErrUnfit if a setting does not fit the engine; if the
// checker is strict, also an engine with warnings and an engine that does not answer.
func (c *Checker) CheckAtStart(ctx context.Context) error { return c.facts.checkAtStart(ctx) }

// Watch returns a sandbox that reports to the checker whether each Prepare succeeded.
func (c *Checker) Watch(box sandbox.Sandbox) sandbox.Sandbox {
	return watched{Sandbox: box, starts: c.starts}
}

// ProveStarts proves that the engine starts containers, again after each failure, until ctx ends. It returns nil. The
// function try makes a container and removes it. The function warm tells whether the pool makes warm containers: the
// first of them is a proof.
func (c *Checker) ProveStarts(
	ctx context.Context, try func(context.Context, sandbox.Spec) error, warm func() bool,
) error {
	return c.starts.run(ctx, prover{
		try: try, warm: warm,
		specs: func(ctx context.Context) ([]sandbox.Spec, error) { return c.images.specsBySize(ctx, c.limits) },
	})
}

// CheckPing returns a fault if the engine does not answer.
func (c *Checker) CheckPing(ctx context.Context) error {
	if err := c.engine.Ping(ctx); err != nil {
		return fault.New(fault.ServiceUnavailable,
			"The Docker engine does not answer. Executions wait until it does.").Because(err)
	}
	return nil
}

// CheckImages returns a fault if a language that is not optional has no image.
func (c *Checker) CheckImages(ctx context.Context) error { return c.images.check(ctx) }

// CheckEngine returns a fault if the engine starts no containers or, if the checker is strict, has warnings.
func (c *Checker) CheckEngine(ctx context.Context) error {
	if err := c.starts.check(c.facts.unsupported(ctx)); err != nil {
		return err
	}
	return c.facts.check(ctx)
}

// Warnings returns the warnings for /readyz.
func (c *Checker) Warnings(ctx context.Context) []string {
	return append(c.facts.names(ctx), c.starts.warnings()...)
}

// MissingImages returns the names of the languages that cannot run because their image is missing. Errors: those of an
// engine that does not answer.
func (c *Checker) MissingImages(ctx context.Context) ([]string, error) {
	missing, err := c.images.missing(ctx)
	return names(missing), err
}
