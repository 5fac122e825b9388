// Package e2e tests the whole server from outside: with a real Docker engine, and a receiver that verifies callbacks.
// Each test states one obligation. The package has only tests; their build tag is e2e.
package e2e
