// Package zcrxtest is what the tests of this module's packages share: streams of
// bytes that are checked, connections over loopback, waiting for what nobody signals,
// looking for what leaks, and benchmarks in turns. It imports none of these packages,
// so that the tests inside each of them can use it.
package zcrxtest
