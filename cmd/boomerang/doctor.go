package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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
	Config   string `help:"Configuration file, as of serve." type:"path" env:"BOOMERANG_CONFIG" placeholder:"FILE"`
	Language string `help:"Examine this language alone. Default: all whose image is there." short:"l" placeholder:"NAME"`
	JSON     bool   `help:"Print the report as JSON." name:"json"`
	Short    bool   `help:"Leave out the probes that take seconds: bombs, floods, quotas."`
}

// Help says more than one line.
func (doctorCmd) Help() string {
	return `Looks at the engine, then runs attacks as real executions: in your images, on your engine, with your limits. It needs no
server, and may run beside one. What it makes it removes.

  boomerang doctor
  boomerang doctor --language python --short

Exit code 0: every wall held. 1: one did not, and the report ends with it. 2: there was nothing to examine, or the engine does
not answer. Warnings on the engine are told and change nothing.`
}

// Run examines.
func (c *doctorCmd) Run(ctx context.Context) error {
	report, err := c.examine(ctx)
	if err == nil && c.JSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "boomerang: doctor: %v\n", err)
		return exitError(exitUsage)
	}
	if report.Open > 0 {
		return exitError(1)
	}
	return nil
}

// homeward bounds the removal of what the doctor made.
const homeward = time.Minute

func (c *doctorCmd) examine(ctx context.Context) (report doctor.Report, err error) {
	settings, err := config.Load(c.Config, os.Environ())
	if err != nil {
		return report, err
	}
	log := config.Log{Level: "error", Format: "text"}.Logger(os.Stderr)
	// A node of its own: no server takes what it makes for its own, nor the other way round.
	node := "doctor-" + journal.NewNonce()
	engine, err := docker.New(settings.Docker, node, 1, log, probe.Program)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	if report.Engine, err = engine.Facts(ctx); err != nil {
		return report, err
	}
	languages, err := c.languages(ctx, settings, engine)
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
	if c.JSON {
		out = io.Discard
	}
	defer func() {
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), homeward)
		defer stop()
		err = errors.Join(err, engine.Dismantle(ctx))
	}()
	doc := doctor.Doctor{
		Sandbox: engine, Program: docker.Carried(probe.Program), Host: host, Short: c.Short, Confined: confined(report.Engine),
		Networks: settings.Network, Machine: machine,
	}
	err = rounds(ctx, doc, languages, &report, doctor.NewPrinter(out))
	return report, err
}

// rounds examines one language after another.
func rounds(ctx context.Context, d doctor.Doctor, languages []language.Language, report *doctor.Report, printer *doctor.Printer) error {
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

// languages are those to examine: the one that is asked for, or all whose image is there.
func (c *doctorCmd) languages(ctx context.Context, settings config.Config, engine *docker.Docker) ([]language.Language, error) {
	catalogue, err := language.Open(settings.Languages)
	if err != nil {
		return nil, err
	}
	all := catalogue.Languages()
	if c.Language != "" {
		one, err := catalogue.Find(c.Language)
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
		fmt.Fprintf(os.Stderr, "· not on the engine, so not examined: %s\n", strings.Join(missing, ", "))
	}
	if len(found) == 0 {
		return nil, errors.New("no language's image is on the engine: build or pull one")
	}
	return found, nil
}

// confined tells whether the engine confines containers by AppArmor.
func confined(facts []sandbox.Fact) bool {
	for _, f := range facts {
		if f.Value == "apparmor" {
			return true
		}
	}
	return false
}
