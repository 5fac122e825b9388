// Package crash marks the points at which a test kills the server: before and after each durable write and each act on
// a container. In production builds a point does nothing.
//
// It does not know the meaning of the points.
package crash
