package zcnet

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx"
)

// Config configures an Engine. The zero Config is valid: it selects the best mode that
// needs no interface.
type Config struct {
	// Mode is how bytes come into buffers. Auto selects the first of ZeroCopy, Provided
	// and Socket that works; it tries ZeroCopy only if Interface and Queues are set.
	// Engine.Reason returns why it did not select a better mode. Where Auto does not select
	// ZeroCopy, a connection is received for by a ring from when it gets a fiber or a
	// Handler; if goroutines read it, it is served as in mode Socket, which costs them less.
	Mode zcrx.Mode

	// Interface and Queues name the hardware receive queues for ZeroCopy. The
	// administrator steers flows to them.
	Interface string
	Queues    []int

	// Loops is the number of threads, 1 to 1024. The default is one for each queue, or
	// half of GOMAXPROCS if there are no queues. zcrx.GroupConfig describes how loops
	// share queues. Socket mode has no loops.
	Loops int

	// Pool configures each pool. Its MaxLeases limits what one connection can hold. In
	// Socket mode there is one pool, of 4096 buffers of 64 KiB by default.
	Pool zcrx.PoolConfig
	// Loop configures each loop. Its Logger must be nil: set the Logger below.
	Loop zcrx.LoopConfig

	// SendZeroCopyFrom is the size in bytes from which Write sends from the caller's
	// memory (Linux 6.0) and returns when the peer has acknowledged the bytes. 0
	// disables it. On a fast network it pays from about 64 KiB. A connection stops
	// using it when the kernel reports that it copied all the same, as over loopback.
	SendZeroCopyFrom int

	// MaxConns is how many functions of a Listener.Serve run at a time, and so how many
	// connections it has open: one that has unsent bytes when its function returns counts
	// until it is closed. 0 means any number.
	MaxConns int

	// StallThreshold is how long a fiber or Handler may keep its loop from going on before
	// that is logged, with the function's name and stack, and counted in FiberStats. The
	// default is 100 ms, the least 1 ms. A negative value turns the check off.
	StallThreshold time.Duration

	// Logger, if not nil, gets what no call returns: temporary accept errors, and the
	// failures and warnings of loops and pools, panics of fibers (without a Logger,
	// slog.Default gets these), and stalls.
	Logger *slog.Logger
}

const maxLoops = 1024

func (cfg Config) withDefaults() (Config, error) {
	if _, err := zcrx.ParseMode(cfg.Mode.String()); err != nil {
		return cfg, err
	}
	if cfg.Mode == zcrx.ZeroCopy && (cfg.Interface == "" || len(cfg.Queues) == 0) {
		return cfg, errors.New("zcnet: mode zerocopy needs Config.Interface and Config.Queues")
	}
	if cfg.Interface != "" && (cfg.Mode == zcrx.ZeroCopy || cfg.Mode == zcrx.Auto) {
		if _, err := net.InterfaceByName(cfg.Interface); err != nil { // also where Auto would not come to look at it
			return cfg, fmt.Errorf("zcnet: interface %q: no such interface in this network namespace: %w", cfg.Interface, syscall.ENODEV)
		}
	}
	if cfg.Loop.Logger != nil {
		return cfg, errors.New("zcnet: Config.Loop.Logger is set: set Config.Logger instead, which loops and pools use too")
	}
	cfg.Loop.Logger = cfg.Logger
	if cfg.Loops == 0 {
		cfg.Loops = max(1, len(cfg.Queues))
		if len(cfg.Queues) == 0 {
			cfg.Loops = max(1, runtime.GOMAXPROCS(0)/2)
		}
	}
	if cfg.Loops < 1 || cfg.Loops > maxLoops {
		return cfg, rangeError("Config.Loops", int64(cfg.Loops), 1, maxLoops)
	}
	if cfg.SendZeroCopyFrom < 0 {
		return cfg, rangeError("Config.SendZeroCopyFrom", int64(cfg.SendZeroCopyFrom), 0, 1<<31-1)
	}
	if cfg.MaxConns < 0 {
		return cfg, rangeError("Config.MaxConns", int64(cfg.MaxConns), 0, math.MaxInt)
	}
	if cfg.StallThreshold == 0 {
		cfg.StallThreshold = 100 * time.Millisecond
	}
	if cfg.StallThreshold > 0 && cfg.StallThreshold < time.Millisecond {
		return cfg, fmt.Errorf("zcnet: Config.StallThreshold %v is out of range: allowed are 1ms and more, or a negative value", cfg.StallThreshold)
	}
	if cfg.Mode == zcrx.DeviceLess && len(cfg.Queues) == 0 {
		cfg.Queues = []int{0}
	}
	return cfg, nil
}

func rangeError(what string, value, low, high int64) error {
	return fmt.Errorf("zcnet: %s %d is out of range: allowed are %d to %d", what, value, low, high)
}
