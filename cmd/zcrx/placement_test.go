package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPlacement(t *testing.T) {
	before, now := &placement{PlacedBytes: 100, OtherBytes: 10}, &placement{PlacedBytes: 400, OtherBytes: 110}
	grown := now.since(before)
	assert.Equal(t, &placement{PlacedBytes: 300, OtherBytes: 100}, grown)
	assert.Equal(t, "300 bytes placed by the device, 100 elsewhere: 75.0 %", grown.String())
	assert.Equal(t, "0 bytes placed by the device, 0 elsewhere: 0.0 %", new(placement).String())

	var out bytes.Buffer
	connectionReport{Peer: "p", OK: true, Device: grown}.print(&out)
	assert.Contains(t, out.String(), "(300 bytes placed by the device, 100 elsewhere: 75.0 %)")
	out.Reset()
	demoReport{Device: grown}.print(&out)
	assert.Contains(t, out.String(), "300 bytes placed by the device")
}

// TestPlacementUntold: lo, and what does not exist, have no such counters.
func TestPlacementUntold(t *testing.T) {
	assert.Nil(t, readPlacement("lo", 0))
	assert.Nil(t, readPlacement("no such interface, and too long for one", 0))
	e := engine{}
	assert.Nil(t, e.placement())
}
