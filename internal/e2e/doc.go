// Package e2e is the whole house from outside: the real server, real Docker, a real receiver that verifies what
// arrives. Each scenario states one obligation. The tests have the build tag e2e; there is nothing else in here.
package e2e
