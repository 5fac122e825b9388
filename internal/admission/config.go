package admission

import (
	"fmt"
	"time"

	"github.com/alecthomas/units"

	"boomerang/internal/address"
)

// Config limits one submission and the queue.
type Config struct {
	// Code is the largest size of the code.
	Code    units.Base2Bytes `yaml:"code"`
	Timeout Timeout          `yaml:"timeout"`
	Env     Env              `yaml:"env"`
	Args    Args             `yaml:"args"`
	// Stdin is the largest size of a program's standard input.
	Stdin units.Base2Bytes `yaml:"stdin"`
	Files Files            `yaml:"files"`
	Queue Queue            `yaml:"queue"`
}

// Timeout limits the run time of a program, in whole seconds.
type Timeout struct {
	Default time.Duration `yaml:"default"` // if the submission has none
	Max     time.Duration `yaml:"max"`
}

// Env limits the environment variables.
type Env struct {
	Entries int              `yaml:"entries"`
	Size    units.Base2Bytes `yaml:"size"` // of all variables, each with its name, "=" and a NUL
}

// Args limits the arguments.
type Args struct {
	Entries int              `yaml:"entries"`
	Size    units.Base2Bytes `yaml:"size"` // of all arguments together, each with a NUL
}

// Files limits the files of a submission.
type Files struct {
	Entries       int              `yaml:"entries"`
	Size          units.Base2Bytes `yaml:"size"`            // of all files together
	URL           bool             `yaml:"url"`             // allow files by URL
	URLAllowCIDRs []address.Range  `yaml:"url_allow_cidrs"` // private addresses that files may be fetched from
}

// Queue limits the executions of all subjects that wait. 0 = no limit.
type Queue struct {
	Total int              `yaml:"total"`
	Size  units.Base2Bytes `yaml:"size"` // of the programs, environments and inputs of executions that have not ended
}

// Defaults returns the limits that the API documents.
func Defaults() Config {
	return Config{
		Code:    units.MiB,
		Timeout: Timeout{Default: time.Hour, Max: 24 * time.Hour},
		Env:     Env{Entries: 256, Size: 64 * units.KiB},
		Args:    Args{Entries: 256, Size: 64 * units.KiB},
		Stdin:   units.MiB,
		Files:   Files{Entries: 100, Size: 4 * units.MiB},
		Queue:   Queue{Total: 100_000, Size: 4 * units.GiB},
	}
}

// The largest limits that an operator can set.
const (
	maxCodeSize  = 64 * units.MiB
	maxTimeout   = 30 * 24 * time.Hour
	maxEntries   = 4096
	maxEnvSize   = 128 * units.KiB // Linux limits a single string of an environment to this size (MAX_ARG_STRLEN)
	maxInputSize = 32 * units.MiB  // stdin and files together fill at most 43 MiB of a job (64 MiB) as base64
)

// Validate returns an error that names the invalid key.
func (c Config) Validate() error {
	switch {
	case c.Code < 1 || c.Code > maxCodeSize:
		return fmt.Errorf("code must be between 1B and %s, not %s", maxCodeSize, c.Code)
	case c.Timeout.Max < time.Second || c.Timeout.Max > maxTimeout || c.Timeout.Max%time.Second != 0:
		return fmt.Errorf("timeout.max must be whole seconds between 1s and %s, not %s", maxTimeout, c.Timeout.Max)
	case c.Timeout.Default < time.Second || c.Timeout.Default > c.Timeout.Max || c.Timeout.Default%time.Second != 0:
		return fmt.Errorf("timeout.default must be whole seconds between 1s and timeout.max, not %s", c.Timeout.Default)
	case c.Env.Entries < 0 || c.Env.Entries > maxEntries:
		return fmt.Errorf("env.entries must be between 0 and %d, not %d", maxEntries, c.Env.Entries)
	case c.Env.Size < 0 || c.Env.Size > maxEnvSize:
		return fmt.Errorf("env.size must be between 0B and %s, not %s", maxEnvSize, c.Env.Size)
	case c.Args.Entries < 0 || c.Args.Entries > maxEntries:
		return fmt.Errorf("args.entries must be between 0 and %d, not %d", maxEntries, c.Args.Entries)
	case c.Args.Size < 0 || c.Args.Size > maxEnvSize:
		return fmt.Errorf("args.size must be between 0B and %s, not %s", maxEnvSize, c.Args.Size)
	case c.Stdin < 0 || c.Stdin > maxInputSize:
		return fmt.Errorf("stdin must be between 0B and %s, not %s", maxInputSize, c.Stdin)
	case c.Files.Entries < 0 || c.Files.Entries > maxEntries:
		return fmt.Errorf("files.entries must be between 0 and %d, not %d", maxEntries, c.Files.Entries)
	case c.Files.Size < 0 || c.Files.Size > maxInputSize-c.Stdin:
		return fmt.Errorf("files.size must be between 0B and %s with stdin, not %s", maxInputSize, c.Files.Size)
	case c.Queue.Size < 0:
		return fmt.Errorf("queue.size must not be negative, but is %s", c.Queue.Size)
	case c.Queue.Total < 0:
		return fmt.Errorf("queue.total must not be negative, but is %d", c.Queue.Total)
	}
	return nil
}
