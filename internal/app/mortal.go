//go:build !chaos

package app

import (
	"boomerang/internal/sandbox/docker"
	"boomerang/internal/store"
)

// mortal returns both as they are. In the build for the tests that kill the server (tag chaos) both can die between
// any two of their calls: mortal_chaos.go.
func mortal(records *store.Store, engine *docker.Docker) (*store.Store, *docker.Docker) {
	return records, engine
}
