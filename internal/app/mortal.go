//go:build !chaos

package app

import (
	"boomerang/internal/sandbox/docker"
	"boomerang/internal/store"
)

// mortalFront and mortalBack return the store as it is, mortalBerths the engine. In the build for the tests that kill the server (tag
// chaos) they can die between any two of their calls: mortal_chaos.go.
func mortalFront(records *store.Store) *store.Store { return records }

func mortalBack(records *store.Store) *store.Store { return records }

func mortalBerths(engine *docker.Docker) *docker.Docker { return engine }
