//go:build linux

// Command boomerang-probe runs attacks inside a container of the doctor and reports the results. Only the containers of
// `boomerang doctor` hold it.
//
// The command does not know Docker or languages. It does no harm where isolation is missing: its attempts end in an
// error or have a limit of their own.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"boomerang/internal/probe"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run reads the task and runs its attack. A child of the program has one more argument.
func run(args []string) (code int, err error) {
	if len(args) == 0 {
		return 0, errors.New("the task is missing")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return 0, err
	}
	var task probe.Task
	if err := json.Unmarshal(text, &task); err != nil {
		return 0, fmt.Errorf("read task: %w", err)
	}
	if len(args) > 1 {
		return child(args[1]), nil
	}
	if task.Attack == probe.IsolationChecks {
		return 0, runChecks(task)
	}
	if task.Attack == probe.NetworkChecks {
		return 0, runNetworkChecks(task)
	}
	play, ok := attacks[task.Attack]
	if !ok {
		return 0, fmt.Errorf("no such attack: %s", task.Attack)
	}
	answer, err := play(task)
	if err != nil {
		return 0, err
	}
	return 0, probe.Write(os.Stdout, answer)
}

// runChecks runs all checks, one after another, and writes each finding at once. If a check ends the program, the
// missing findings reveal it.
func runChecks(task probe.Task) error {
	all := append(append(append(append(identity(), calls()...), files()...), others()...), limits()...)
	all = append(all, network(task)...)
	for i, w := range all {
		if i == 0 {
			if err := probe.Write(os.Stdout, probe.Answer{Count: int64(len(all))}); err != nil {
				return err
			}
		}
		happened, held := w.run(task)
		finding := probe.Finding{Group: w.group, Name: w.name, Should: w.should, Happened: happened, Held: held}
		if task.Sentry {
			finding = excuseUnderGVisor(finding)
		}
		if err := probe.Write(os.Stdout, finding); err != nil {
			return err
		}
	}
	return nil
}

// check is one attempt that must fail, or one property that must hold.
type check struct {
	group, name, should string
	run                 func(probe.Task) (happened string, held bool)
}
