package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestUpwardOffUnix has an upward import in a file that neither Linux nor darwin
// compiles, as internal/sys/read_other.go (!unix).
func TestUpwardOffUnix(t *testing.T) {
	_, err := graphOf(t, map[string]string{
		"csrc/csrc.go":              source(),
		"internal/sys/sys.go":       source(),
		"internal/sys/sys_other.go": "//go:build !unix\n\n" + source("csrc"),
	})
	assert.Error(t, err)
}
