// Package zcrxtest has helpers that the tests of several packages share: streams whose
// bytes are checked, connections over loopback, waiting by polling, checks for leaks, and
// benchmarks that compare two things. It imports none of these packages, so that the
// tests inside each of them can use it. Start with TCPPair and Stream.
package zcrxtest
