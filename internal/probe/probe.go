// Package probe is what the doctor and the program that plays its attacks tell each other: the task that goes in as the
// code of a job, and the findings and the answer that come out on stdout.
//
// It refuses to know how an attack is made and where it is played; the program inside is built from it, so it imports
// the standard library alone.
package probe

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Program is the name of the program inside.
const Program = "boomerang-probe"

// Task is what the program inside plays, and what it should find there. It travels as JSON.
type Task struct {
	Attack   Attack `json:"play"`
	Host     string `json:"host,omitempty"` // the name of the engine's machine; empty = unknown
	Confined bool   `json:"confined"`       // the engine has AppArmor
	Sentry   bool   `json:"sentry"`         // gVisor's kernel answers the program, not the machine's
	Limits   Limits `json:"limits"`
	Network  string `json:"network,omitempty"` // "egress" or "proxy"; empty = none
	Around   Around `json:"around"`
}

// Around is what is near a container that is on a network: all of it as host:port.
type Around struct {
	Machine    []string `json:"machine,omitempty"`    // the engine's machine, by all of its addresses that are known
	Neighbours []string `json:"neighbours,omitempty"` // containers on the same network, which listen there
	Metadata   []string `json:"metadata,omitempty"`   // services of clouds
	Closed     []string `json:"closed,omitempty"`     // one address of each range that is closed
	Sentinel   string   `json:"sentinel,omitempty"`   // refuses by the firewall's rules, where they are in place
	Proxy      string   `json:"proxy,omitempty"`      // the one that may answer
}

// Limits are those that the container should have.
type Limits struct {
	Memory    int64   `json:"memory"` // bytes, swap included
	CPUs      float64 `json:"cpus"`
	PIDs      int64   `json:"pids"` // with the init's
	Files     int64   `json:"files"`
	Workspace int64   `json:"workspace"` // bytes
	Tmp       int64   `json:"tmp"`       // bytes
}

// Play names what is played.
type Attack string

// The plays. Walls and Reach answer with findings, the others with an Answer.
const (
	IsolationChecks Attack = "walls"     // all that takes no time and does no harm
	NetworkChecks   Attack = "reach"     // those of the walls that are about the network
	Neighbour       Attack = "neighbour" // lives quietly, and tells when it is ended whether anything went wrong
	Pause           Attack = "pause"     // does nothing for a second

	Spy         Attack = "spy"         // prints all that it can read
	Forge       Attack = "forge"       // prints what looks like frames
	SignalInit  Attack = "signal init" // every signal but SIGTERM to PID 1
	EndInit     Attack = "end init"    // SIGTERM to PID 1
	Ignore      Attack = "ignore"      // every signal that can be
	Freeze      Attack = "freeze"      // stops itself and its children
	Daemon      Attack = "daemon"      // leaves a process behind that keeps stdout and hears no signal
	Orphans     Attack = "orphans"     // more of them than there are PIDs
	Zombies     Attack = "zombies"     // and does not wait for them
	ForkBomb    Attack = "fork bomb"
	Memory      Attack = "memory"
	ChildMemory Attack = "child memory" // a child takes it
	Memfd       Attack = "memfd"        // memory without an address
	Bytes       Attack = "bytes"        // fills every place that it can write to
	Inodes      Attack = "inodes"
	Spin        Attack = "spin"
	Flood       Attack = "flood"    // of bytes
	Newlines    Attack = "newlines" // of them
	Inotify     Attack = "inotify"
	Pending     Attack = "pending" // signals
	Pipes       Attack = "pipes"
	Terminals   Attack = "terminals"
	AIO         Attack = "aio"
)

// Finding is what came of one probe.
type Finding struct {
	Group    string `json:"group"`
	Name     string `json:"name"`
	Should   string `json:"should"`
	Happened string `json:"happened"`
	Held     bool   `json:"held"`
}

// Answer is what a play has to say at its end, and now and then before.
type Answer struct {
	Count int64  `json:"count"` // of what it took or made; what is counted is the play's own
	Note  string `json:"note,omitempty"`
}

// Write writes a finding or an answer as one line.
func Write(w io.Writer, line any) error {
	text, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("write line: %w", err)
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// Read reads the lines that Write wrote and that have all of T's form; others are left out.
func Read[T any](text []byte) []T {
	var all []T
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.DisallowUnknownFields()
		var line T
		if decoder.Decode(&line) == nil {
			all = append(all, line)
		}
	}
	return all
}
