//go:build linux && cgo

package zcnet

import (
	"log/slog"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

func TestEngineConfigOutOfRange(t *testing.T) {
	for want, cfg := range map[string]Config{
		`mode "mode(9)" is unknown: allowed are`:                       {Mode: 9},
		"mode zerocopy needs Config.Interface and Config.Queues":       {Mode: zcrx.ZeroCopy, Interface: "eth0"},
		"Config.Loop.Logger is set: set Config.Logger instead":         {Loop: zcrx.LoopConfig{Logger: slog.Default()}},
		"Config.Loops -1 is out of range: allowed are 1 to 1024":       {Loops: -1},
		"Config.Loops 1025 is out of range: allowed are 1 to 1024":     {Loops: 1025},
		"Config.SendZeroCopyFrom -1 is out of range: allowed are 0 to": {SendZeroCopyFrom: -1},
		"PoolConfig.NumBuffers -1 is out of range: allowed are":        {Mode: zcrx.Socket, Pool: zcrx.PoolConfig{NumBuffers: -1}},
		"LoopConfig.CQEntries 2 is out of range: allowed are":          {Mode: zcrx.Provided, Loop: zcrx.LoopConfig{CQEntries: 2}},
	} {
		_, err := NewEngine(t.Context(), cfg)
		assert.ErrorContains(t, err, want)
	}
	fds, goroutines := zcrxtest.OpenFDs(t), runtime.NumGoroutine()
	_, err := NewEngine(t.Context(), Config{Mode: zcrx.Provided, Loops: 3, Pool: zcrx.PoolConfig{NumBuffers: zcrx.MaxProvidedBuffers + 1}})
	assert.ErrorContains(t, err, "PoolConfig.NumBuffers 32769 is out of range")
	zcrxtest.Settled(t, fds, goroutines)
}
