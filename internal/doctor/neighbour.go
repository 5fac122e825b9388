package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"boomerang/internal/capture"
	"boomerang/internal/language"
	"boomerang/internal/probe"
	"boomerang/internal/sandbox"
)

// neighbour is an execution in another slot that runs quietly during the attacks.
type neighbour struct {
	container sandbox.Container
	stdout    *capture.Buffer
	done      chan error // receives the result of Follow
}

const neighbourTimeout = 24 * time.Hour

// startNeighbour starts a neighbour and waits until it is ready.
func (d *Doctor) startNeighbour(ctx context.Context, l language.Language) (*neighbour, error) {
	spec, job := d.plan(l, probe.Neighbour, neighbourSlot, neighbourTimeout)
	container, err := d.Sandbox.Prepare(ctx, spec)
	if err != nil {
		return nil, err
	}
	most := job.Head + job.Tail
	n := &neighbour{container: container, stdout: capture.New(most, most+slack), done: make(chan error, 1)}
	stderr := capture.New(slack, slack)
	if err := container.Assign(ctx, job); err != nil {
		return nil, errors.Join(err, container.Remove(context.WithoutCancel(ctx)))
	}
	go func() {
		_, err := container.Follow(context.WithoutCancel(ctx), job.Nonce, n.stdout, stderr, nil)
		n.done <- err
	}()
	late := time.After(readyTimeout)
	for {
		text, grown := n.stdout.Bytes()
		if len(probe.Read[probe.Answer](text)) > 0 {
			return n, nil
		}
		select {
		case <-grown:
			continue
		case err := <-n.done:
			n.done <- nil
			said, _ := stderr.Bytes()
			err = errors.Join(err, fmt.Errorf("it ended: %s", firstLine(said)))
			return nil, errors.Join(err, n.remove(context.WithoutCancel(ctx)))
		case <-late:
			err = errors.New("it does not become ready")
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		return nil, errors.Join(err, n.remove(context.WithoutCancel(ctx)))
	}
}

// remove removes the neighbour and waits for its follower.
func (n *neighbour) remove(ctx context.Context) error {
	err := n.container.Remove(ctx)
	if followed := <-n.done; followed != nil && !errors.Is(followed, sandbox.ErrGone) {
		err = errors.Join(err, followed)
	}
	return err
}

// progress is the number of answers that a neighbour has printed.
type progress struct{ answers int }

func (n *neighbour) progress() progress {
	text, _ := n.stdout.Bytes()
	return progress{answers: len(probe.Read[probe.Answer](text))}
}

// compare waits for the neighbour's next answer and describes its state since before. Quiet is true if the neighbour
// noticed nothing.
func (n *neighbour) compare(before progress) (words string, quiet bool) {
	late := time.After(readyTimeout)
	for {
		text, grown := n.stdout.Bytes()
		if answers := probe.Read[probe.Answer](text); len(answers) > before.answers {
			for _, a := range answers[before.answers:] {
				if a.Note != "" {
					return "the neighbour noticed: " + a.Note, false
				}
			}
			return "the neighbour noticed nothing", true
		}
		select {
		case <-grown:
		case err := <-n.done:
			n.done <- err
			return "the neighbour has ended", false
		case <-late:
			return "the neighbour does not respond", false
		}
	}
}
