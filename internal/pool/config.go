package pool

import (
	"fmt"
	"time"

	"github.com/alecthomas/units"
)

// Config bounds the warm containers.
type Config struct {
	// Memory bounds the memory of all warm containers whose number follows the demand, at Footprint bytes each;
	// 0 means a sixteenth of the engine's memory.
	Memory units.Base2Bytes `yaml:"memory"`
	// Idle is how long a warm container may be surplus before the pool removes it.
	Idle time.Duration `yaml:"idle"`
	// Age is how long a warm container waits before a new one replaces it, so that new images come into use.
	Age time.Duration `yaml:"age"`
	// Slots is the number of executions that run at the same time, set by the dispatcher. The pool never keeps more
	// containers of a language whose number follows the demand.
	Slots int `yaml:"-"`
	// MaxMaking is how many containers are made at the same time, ≥ 1: one per CPU of the engine. More at a time make
	// each slower and their total rate lower.
	MaxMaking int `yaml:"-"`
}

// Footprint is the memory of a warm container on the engine's machine, in bytes. Measured for Python after its
// rehearsal: 5 MiB for the shim, 10 MiB for the control group, most of which are file pages, and 2.5 MiB for
// fuse-overlayfs where it is used.
const Footprint = 16 << 20

// minContainers is how many warm containers fit into the default memory of the smallest engine, or of an engine that
// does not report its size.
const minContainers = 4

// Defaults let a pool shrink within minutes.
func Defaults() Config { return Config{Idle: 10 * time.Minute, Age: 10 * time.Minute} }

// Validate returns an error that names the wrong key.
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

// For returns the configuration for an engine with cpus CPUs and memory bytes of memory on which slots executions run
// at the same time.
func (c Config) For(cpus int, memory int64, slots int) Config {
	if c.Memory == 0 {
		c.Memory = units.Base2Bytes(max(memory/16, minContainers*Footprint))
	}
	c.Slots, c.MaxMaking = slots, max(cpus, 1)
	return c
}
