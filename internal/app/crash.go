//go:build !chaos

package app

import (
	"boomerang/internal/sandbox/docker"
	"boomerang/internal/store"
)

// crashFront and crashBack return the store as it is, crashContainers the engine. In the build for the tests that kill the server (tag
// chaos) they can die between any two of their calls: mortal_chaos.go.
func crashFront(records *store.Store) *store.Store { return records }

func crashBack(records *store.Store) *store.Store { return records }

func crashContainers(engine *docker.Docker) *docker.Docker { return engine }
