//go:build linux

package main

import "boomerang/internal/probe"

// gate always holds: 64-bit programs of this architecture cannot make 32-bit calls, and 32-bit programs need a foreign
// binary.
func gate(probe.Task) (string, bool) { return "there is none on this processor", true }

func architectureCalls(string) []check { return nil }
