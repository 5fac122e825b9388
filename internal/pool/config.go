package pool

import (
	"fmt"
	"time"

	"github.com/alecthomas/units"
)

// Config bounds what waits.
type Config struct {
	// Memory is how much the containers may take that wait where the number is left to us, at Footprint each; 0 = a sixteenth of
	// the engine's.
	Memory units.Base2Bytes `yaml:"memory"`
	// Idle is how long a container may be in excess before there is one fewer.
	Idle time.Duration `yaml:"idle"`
	// Age is how long a container waits before a new one takes its place: so images that were built anew come into use.
	Age time.Duration `yaml:"age"`
	// Slots is how many executions run at the same time: more containers than that are never wanted at once. It is dispatch's
	// own setting.
	Slots int `yaml:"-"`
	// Abreast is how many containers are made at the same time, ≥ 1: as many as the engine has processors. It takes longer over each
	// the more it makes, and makes fewer in all.
	Abreast int `yaml:"-"`
}

// Footprint is what a container takes on the engine's machine while it waits, in bytes. Measured for Python after its rehearsal: 5 MiB
// for the shim, 10 MiB for its control group, most of which are pages of files, and 2.5 MiB for fuse-overlayfs where that is used.
const Footprint = 16 << 20

// least is how many containers there is memory for on the smallest engine, or on one that does not tell.
const least = 4

// Defaults let a pool shrink within minutes.
func Defaults() Config { return Config{Idle: 10 * time.Minute, Age: 10 * time.Minute} }

// Validate names the key that is wrong.
func (c Config) Validate() error {
	switch {
	case c.Memory < 0 || c.Memory > 0 && c.Memory < Footprint:
		return fmt.Errorf("memory must be 0 or at least %s, not %s", units.Base2Bytes(Footprint), c.Memory)
	case c.Idle < time.Second:
		return fmt.Errorf("idle must be at least 1s, not %s", c.Idle)
	case c.Age < time.Second:
		return fmt.Errorf("age must be at least 1s, not %s", c.Age)
	}
	return nil
}

// For fills in what depends on the engine: its processors, its memory in bytes, and how many executions run on it at the same
// time.
func (c Config) For(cpus int, memory int64, slots int) Config {
	if c.Memory == 0 {
		c.Memory = units.Base2Bytes(max(memory/16, least*Footprint))
	}
	c.Slots, c.Abreast = slots, max(cpus, 1)
	return c
}
