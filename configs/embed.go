// Package configs embeds the shipped configuration files, so that the program works without a configuration directory.
// The package lies beside the files because go:embed reaches no other directory, and operators copy the same files.
//
// The package does not know the meaning of the files.
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
