package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"boomerang/internal/config"
	"boomerang/internal/doctor"
	"boomerang/internal/journal"
	"boomerang/internal/language"
	"boomerang/internal/probe"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/docker"
)

type doctorCmd struct {
	configFlags
	Language string `help:"Check only this language. Default: all with an image." short:"l" placeholder:"NAME"`
	JSON     bool   `help:"Print the report as JSON." name:"json"`
	Short    bool   `help:"Skip the slow checks: fork bombs, floods, quotas."`
}

// Help implements kong.HelpProvider.
func (doctorCmd) Help() string {
	return `The command inspects the Docker engine, then runs attacks as real executions: in your images, on your
engine, with your limits. It needs no server, may run beside one, and removes everything that it creates.

  boomerang doctor
  boomerang doctor --language python --short

The exit code is 0 if every isolation check held, 1 if one failed, and 2 if there was nothing to check or the engine
does not answer. A failed check is repeated at the end of the report. Warnings about the engine do not change the exit
code.`
}

// Run checks the languages and prints the report.
func (cmd *doctorCmd) Run(ctx context.Context) error {
	report, err := cmd.examine(ctx)
	if err == nil && cmd.JSON {
		err = printJSON(os.Stdout, report)
	}
	if err != nil {
		printError(err)
		return exitError(exitUsage)
	}
	if report.Open > 0 {
		return exitError(exitFailure)
	}
	return nil
}

func (cmd *doctorCmd) examine(ctx context.Context) (report doctor.Report, err error) {
	c, err := config.Load(cmd.Config, os.Environ())
	if err != nil {
		return report, err
	}
	log := config.Log{Level: "error", Format: "text"}.Logger(os.Stderr)
	// With a node name of its own, the doctor does not manage the containers of a server, nor a server those of the
	// doctor.
	node := "doctor-" + journal.NewNonce()
	engine, err := docker.New(c.Docker, node, 1, log, probe.Program)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	if report.Engine, err = engine.Facts(ctx); err != nil {
		return report, err
	}
	languages, err := installedLanguages(ctx, c, engine, cmd.Language)
	if err != nil {
		return report, err
	}
	host, err := engine.HostName(ctx)
	if err != nil {
		return report, err
	}
	machine, err := engine.Machine(ctx)
	if err != nil {
		return report, err
	}
	out := io.Writer(os.Stdout)
	if cmd.JSON {
		out = io.Discard
	}
	defer func() { err = errors.Join(err, dismantle(ctx, engine)) }()
	d := doctor.Doctor{
		Sandbox: engine, Program: docker.Carried(probe.Program), Networks: c.Network, Machine: machine,
		Host: host, Short: cmd.Short, Confined: hasAppArmor(report.Engine),
	}
	err = examineLanguages(ctx, d, languages, &report, doctor.NewPrinter(out))
	return report, err
}

// examineLanguages checks one language after another, prints the findings and adds them to the report.
func examineLanguages(
	ctx context.Context, d doctor.Doctor, languages []language.Language, report *doctor.Report, printer *doctor.Printer,
) error {
	printer.Facts(report.Engine)
	for _, l := range languages {
		printer.Language(l.Name, l.Image)
		examined := doctor.Examined{Language: l.Name, Image: l.Image}
		d.Found = func(f probe.Finding) {
			printer.Finding(f)
			examined.Probes = append(examined.Probes, f)
			if !f.Held {
				report.Open++
			}
		}
		err := d.Examine(ctx, l)
		report.Languages = append(report.Languages, examined)
		if err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
	}
	printer.Sum(*report)
	return nil
}

// dismantle removes everything that a check created on the engine, even after ctx has ended. It takes at most a minute.
func dismantle(ctx context.Context, engine *docker.Docker) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer stop()
	return engine.Dismantle(ctx)
}

// installedLanguages returns the languages whose image is on the engine: all of them, or the named one.
func installedLanguages(
	ctx context.Context, c config.Config, engine *docker.Docker, name string,
) ([]language.Language, error) {
	catalogue, err := language.Open(c.Languages)
	if err != nil {
		return nil, err
	}
	all := catalogue.Languages()
	if name != "" {
		one, err := catalogue.Find(name)
		if err != nil {
			return nil, err
		}
		all = []language.Language{one}
	}
	var missing []string
	var found []language.Language
	for _, l := range all {
		switch err := engine.HasImage(ctx, l.Image); {
		case err == nil:
			found = append(found, l)
		case errors.Is(err, sandbox.ErrImageUnavailable):
			missing = append(missing, l.Image)
		default:
			return nil, err
		}
	}
	if len(missing) > 0 {
		fmt.Fprintf(os.Stderr, "· images missing on the engine, skipped: %s\n", strings.Join(missing, ", "))
	}
	if len(found) == 0 {
		return nil, errors.New("the engine has no image of a language: build or pull one")
	}
	return found, nil
}

// hasAppArmor reports whether the engine confines containers with AppArmor.
func hasAppArmor(facts []sandbox.Fact) bool {
	return slices.ContainsFunc(facts, func(f sandbox.Fact) bool { return f.Value == "apparmor" })
}
