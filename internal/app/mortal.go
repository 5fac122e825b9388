//go:build !chaos

package app

import (
	"boomerang/internal/sandbox/docker"
	"boomerang/internal/store"
)

// mortalFront returns the store as it is, mortalBack store and engine. In the build for the tests that kill the server (tag
// chaos) they can die between any two of their calls: mortal_chaos.go.
func mortalFront(records *store.Store) *store.Store { return records }

func mortalBack(records *store.Store, engine *docker.Docker) (*store.Store, *docker.Docker) {
	return records, engine
}
