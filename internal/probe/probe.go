// Package probe is the protocol between the doctor and the probe program in its containers: the task, which travels as
// the code of a job, and the findings and answers on stdout.
//
// The package does not know how an attack works or where it runs. It imports only the standard library, because the
// probe program is built from it.
package probe

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Program is the name of the probe program.
const Program = "boomerang-probe"

// Task is the attack that the probe program runs, and the environment that it should find. It travels as JSON.
type Task struct {
	Attack   Attack `json:"play"`
	Host     string `json:"host,omitempty"` // name of the engine's machine; empty if unknown
	Confined bool   `json:"confined"`       // the engine has AppArmor
	Sentry   bool   `json:"sentry"`         // gVisor's kernel runs the program, not the machine's
	Limits   Limits `json:"limits"`
	Network  string `json:"network,omitempty"` // "egress" or "proxy"; empty means none
	Around   Around `json:"around"`
}

// Around lists the addresses near a container on a network, as host:port.
type Around struct {
	Machine    []string `json:"machine,omitempty"`    // the engine's machine at all of its known addresses
	Neighbours []string `json:"neighbours,omitempty"` // listening containers on the same network
	Metadata   []string `json:"metadata,omitempty"`   // metadata services of clouds
	Closed     []string `json:"closed,omitempty"`     // one address of each closed range
	Sentinel   string   `json:"sentinel,omitempty"`   // an address that the firewall's rules refuse
	Proxy      string   `json:"proxy,omitempty"`      // the only address that may answer
}

// Limits are the limits that the container should have.
type Limits struct {
	Memory    int64   `json:"memory"` // bytes, swap included
	CPUs      float64 `json:"cpus"`
	PIDs      int64   `json:"pids"` // includes the init's threads
	Files     int64   `json:"files"`
	Workspace int64   `json:"workspace"` // bytes
	Tmp       int64   `json:"tmp"`       // bytes
}

// Attack names an attack.
type Attack string

// The attacks. IsolationChecks and NetworkChecks answer with findings, the others with an Answer.
const (
	IsolationChecks Attack = "walls"     // all quick and harmless checks
	NetworkChecks   Attack = "reach"     // the network checks alone
	Neighbour       Attack = "neighbour" // runs quietly, and reports problems that it notices
	Pause           Attack = "pause"     // does nothing for a second

	Spy         Attack = "spy"         // prints all text that it can read
	Forge       Attack = "forge"       // prints forged frames
	SignalInit  Attack = "signal init" // sends PID 1 every signal but SIGTERM
	EndInit     Attack = "end init"    // sends PID 1 SIGTERM
	Ignore      Attack = "ignore"      // ignores every signal that can be ignored
	Freeze      Attack = "freeze"      // stops itself and its children by SIGSTOP
	Daemon      Attack = "daemon"      // leaves a process that keeps stdout open and ignores signals
	Orphans     Attack = "orphans"     // makes more orphans than there are PIDs
	Zombies     Attack = "zombies"     // makes children and does not wait for them
	ForkBomb    Attack = "fork bomb"
	Memory      Attack = "memory"
	ChildMemory Attack = "child memory" // a child takes all memory
	Memfd       Attack = "memfd"        // takes memory through a memfd
	Bytes       Attack = "bytes"        // fills every writable place
	Inodes      Attack = "inodes"
	Spin        Attack = "spin"
	Flood       Attack = "flood"    // floods both streams with bytes
	Newlines    Attack = "newlines" // floods both streams with newlines
	Inotify     Attack = "inotify"
	Pending     Attack = "pending" // uses up pending signals
	Pipes       Attack = "pipes"
	Terminals   Attack = "terminals"
	AIO         Attack = "aio"
)

// Finding is the result of one check.
type Finding struct {
	Group    string `json:"group"`
	Name     string `json:"name"`
	Should   string `json:"should"`
	Happened string `json:"happened"`
	Held     bool   `json:"held"`
}

// Answer is the result of an attack, or an intermediate result.
type Answer struct {
	Count int64  `json:"count"` // the unit depends on the attack
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

// Read returns the lines that Write wrote and that decode as T; it skips all other lines.
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
