package scenario

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCheckNamesValueAndRange(t *testing.T) {
	good := Case{Workload: Echo, Connections: 1, Size: 1}
	assert.NoError(t, good.Check())
	for want, change := range map[string]func(*Case){
		`workload "ech" is unknown: want bulk, echo, churn or http`:                            func(c *Case) { c.Workload = "ech" },
		"connections 0 is out of range: allowed are 1 to 10000":                                func(c *Case) { c.Connections = 0 },
		"size -1 is out of range: allowed are 1 to 67108864":                                   func(c *Case) { c.Size = -1 },
		"buffer size 5000 is no power of two: allowed are powers of two from 4096 to 16777216": func(c *Case) { c.BufferSize = 5000 },
		"buffer size 2048 is out of range: allowed are 4096 to 16777216":                       func(c *Case) { c.BufferSize = 2048 },
		"buffer size 33554432 is out of range: allowed are 0 to 16777216":                      func(c *Case) { c.BufferSize = 32 << 20 },
		"rate -5 is out of range: allowed are 0 to 10000000":                                   func(c *Case) { c.Rate = -5 },
		"rate 5: workload bulk has no rate, only echo and http do":                             func(c *Case) { c.Workload, c.Rate = Bulk, 5 },
	} {
		c := good
		change(&c)
		assert.EqualError(t, c.Check(), want)
	}
}

func TestSuiteIsValid(t *testing.T) {
	seen := map[Case]bool{}
	for _, group := range Suite() {
		for _, c := range group.Cases {
			assert.NoError(t, c.Check(), group.Title)
			assert.False(t, seen[c], "%v is measured twice", c)
			seen[c] = true
		}
	}
}

func TestStrings(t *testing.T) {
	assert.Equal(t, "echo, 64 connections, 100 B, 5/s", Case{Workload: Echo, Connections: 64, Size: 100, Rate: 5}.String())
	assert.Equal(t, "bulk, 1 connection, 256 KiB, buffers of 1 MiB", Case{Workload: Bulk, Connections: 1, Size: 256 << 10, BufferSize: 1 << 20}.String())
	assert.Equal(t, "1025 B", Bytes(1025))
}
