// Package csrc holds the C headers that the bottom floor of zcrx is compiled
// against. It has no Go code: it exists so that go mod vendor, which drops
// folders without Go files, carries the headers along.
package csrc
