package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
)

func TestProbe(t *testing.T) {
	noLeaks(t)
	c := start(t, nil, "probe", "--json")
	c.succeed()
	r := decode[probeReport](t, c.out.String())[0]
	assert.Equal(t, header{1, "probe"}, r.header)
	assert.NotEmpty(t, r.Kernel)
	assert.NotEmpty(t, r.Liburing)
	assert.Nil(t, r.Device)
	require.Len(t, r.Features, len(zcrx.AllFeatures()))
	for _, f := range r.Features {
		assert.NotEmpty(t, f.Name)
		assert.NotEmpty(t, f.MinKernel)
		assert.Contains(t, []string{"yes", "no", "unknown"}, f.State)
		if f.State == "no" {
			assert.NotEmpty(t, f.Layer, f.Name)
			assert.NotEmpty(t, f.Remedy, f.Name)
		}
	}
	states := make(map[string]string)
	for _, m := range r.Modes {
		states[m.Mode] = m.State
	}
	assert.Len(t, states, 3)
	for _, mode := range ringModes() {
		assert.Equal(t, "yes", states[mode])
	}

	text := start(t, nil, "probe")
	text.succeed()
	for _, f := range r.Features {
		assert.Contains(t, text.out.String(), f.Name)
	}
	for _, line := range strings.Split(text.out.String(), "\n") {
		assert.Equal(t, strings.TrimRight(line, " "), line)
	}
}

func TestProbeDevice(t *testing.T) {
	noLeaks(t)
	c := start(t, nil, "probe", "-i", "lo", "--json")
	c.succeed()
	r := decode[probeReport](t, c.out.String())[0]
	require.NotNil(t, r.Device)
	assert.Equal(t, "lo", r.Device.Interface)
	assert.Equal(t, "no", r.Device.State)
	assert.Equal(t, "device", r.Device.Layer)
	assert.Equal(t, r.Device.verdict, r.Modes[0].verdict)

	text := start(t, nil, "probe", "-i", "lo", "-q", "0")
	text.succeed()
	assert.Contains(t, text.out.String(), "\nlo queue 0  no     device: ")
}

func TestJudge(t *testing.T) {
	busy := &zcrx.KernelError{Op: "probe queue 1", Errno: syscall.EBUSY, Meaning: "somebody has it", Remedy: "end that"}
	for _, c := range []struct {
		err  error
		want verdict
	}{
		{nil, verdict{State: "yes"}},
		{&zcrx.UnsupportedError{Layer: zcrx.LayerKernel, Remedy: "get another"}, verdict{State: "no", Layer: "kernel", Remedy: "get another"}},
		{busy, verdict{State: "no", Layer: "device", Seen: "somebody has it", Remedy: "end that"}},
		{fmt.Errorf("%w: %w", zcrx.ErrInconclusive, busy), verdict{State: "unknown", Seen: errorText(fmt.Errorf("%w: %w", zcrx.ErrInconclusive, busy))}},
		{errors.New("dark"), verdict{State: "unknown", Seen: "dark"}},
	} {
		assert.Equal(t, c.want, judge(c.err))
	}
}

func TestProbeRequire(t *testing.T) {
	noLeaks(t)
	for _, mode := range ringModes() {
		start(t, nil, "probe", "--require", mode).succeed()
	}
	c := start(t, nil, "probe", "--require", "zerocopy", "-i", "lo", "--json")
	c.fail(exitFailed, "mode zerocopy does not work", "device")
	assert.Len(t, decode[probeReport](t, c.out.String()), 1, "the report is printed all the same")
	if !inVM() {
		start(t, nil, "probe", "--require", "deviceless").fail(exitFailed, "mode deviceless does not work", "7.1")
	}
}

func TestVersion(t *testing.T) {
	c := start(t, nil, "version")
	c.succeed()
	assert.Regexp(t, `^zcrx \S+.*\nliburing 2\.\d+\ngo\S* linux/\w+\n$`, c.out.String())
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"", "--help", "help demo", "demo --help", "recv -h"} {
		c := start(t, nil, strings.Fields(args)...)
		c.succeed()
		assert.Contains(t, c.out.String(), "Usage:")
		assert.Empty(t, c.err.String())
	}
}
