// Package configs carries the shipped configuration inside the program, so that it works without a configuration
// directory. It lies here because the files that an operator reads and copies lie here, and go:embed reaches no
// other folder: there is one file, not two that have to be kept equal.
//
// It refuses to know what the files mean.
package configs

import _ "embed" // for the files below

// Languages is the built-in catalogue of languages, in YAML.
//
//go:embed languages.yaml
var Languages []byte

// Seccomp is the built-in seccomp profile, in Docker's JSON. It is made from seccomp.yaml.
//
//go:generate go run ./seccomp
//go:embed seccomp.json
var Seccomp []byte
