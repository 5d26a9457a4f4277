// Package scenario describes what is measured: the workloads and their parameters.
package scenario

import (
	"fmt"
	"slices"
	"strings"
)

// Workload is what the client does.
type Workload string

// The workloads.
const (
	Bulk  Workload = "bulk"  // send as fast as possible; the server reads every cache line
	Echo  Workload = "echo"  // send a message and wait until it comes back
	Churn Workload = "churn" // connect, echo one message, close
	HTTP  Workload = "http"  // GET requests over kept connections
)

// Workloads returns every Workload.
func Workloads() []Workload { return []Workload{Bulk, Echo, Churn, HTTP} }

// ParseWorkload returns the workload of that name.
func ParseWorkload(name string) (Workload, error) {
	if w := Workload(name); slices.Contains(Workloads(), w) {
		return w, nil
	}
	return "", fmt.Errorf("workload %q is unknown: want bulk, echo, churn or http", name)
}

// The limits of a Case.
const (
	MaxConnections = 10000
	MaxSize        = 64 << 20
	MaxBufferSize  = 16 << 20
	MaxRate        = 10_000_000
)

// Case is one workload with its parameters.
type Case struct {
	Workload    Workload `json:"workload"`
	Connections int      `json:"connections"` // 1 to MaxConnections
	// Size is the number of bytes of a message, of a send in Bulk, of the reply's body in
	// HTTP: 1 to MaxSize.
	Size int `json:"size"`
	// BufferSize is the size in bytes of the server's receive buffers, a power of two from
	// 4096 to MaxBufferSize. 0 leaves it to the contestant.
	BufferSize int `json:"buffer_size,omitempty"`
	// Rate is the number of messages that are sent per second over all connections, up to
	// MaxRate, whether or not replies come. With 0 each connection sends the next message
	// when it has the reply. Bulk and Churn have no rate.
	Rate int `json:"rate,omitempty"`
}

// Check returns an error that names the first value out of its range.
func (c Case) Check() error {
	if _, err := ParseWorkload(string(c.Workload)); err != nil {
		return err
	}
	if c.Rate != 0 && (c.Workload == Bulk || c.Workload == Churn) {
		return fmt.Errorf("rate %d: workload %s has no rate, only echo and http do", c.Rate, c.Workload)
	}
	if c.BufferSize != 0 && c.BufferSize&(c.BufferSize-1) != 0 {
		return fmt.Errorf("buffer size %d is no power of two: allowed are powers of two from 4096 to %d", c.BufferSize, MaxBufferSize)
	}
	if c.BufferSize != 0 && c.BufferSize < 4096 {
		return rangeError("buffer size", c.BufferSize, 4096, MaxBufferSize)
	}
	for _, n := range []struct {
		what           string
		value, low, up int
	}{
		{"connections", c.Connections, 1, MaxConnections},
		{"size", c.Size, 1, MaxSize},
		{"buffer size", c.BufferSize, 0, MaxBufferSize},
		{"rate", c.Rate, 0, MaxRate},
	} {
		if n.value < n.low || n.value > n.up {
			return rangeError(n.what, n.value, n.low, n.up)
		}
	}
	return nil
}

func rangeError(what string, value, low, high int) error {
	return fmt.Errorf("%s %d is out of range: allowed are %d to %d", what, value, low, high)
}

// String returns the case on one line, for instance "echo, 64 connections, 100 B".
func (c Case) String() string {
	words := []string{string(c.Workload), fmt.Sprintf("%d connections", c.Connections), Bytes(c.Size)}
	if c.Connections == 1 {
		words[1] = "1 connection"
	}
	if c.BufferSize > 0 {
		words = append(words, "buffers of "+Bytes(c.BufferSize))
	}
	if c.Rate > 0 {
		words = append(words, fmt.Sprintf("%d/s", c.Rate))
	}
	return strings.Join(words, ", ")
}

// Bytes returns a number of bytes as "100 B", "64 KiB" or "1 MiB".
func Bytes(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
