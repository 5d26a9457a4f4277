package zcnet

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/zcrx-go/zcrx"
)

// Config says what serves connections. The zero Config is valid: it takes the best
// mode that needs no interface.
type Config struct {
	// Mode is how bytes come into buffers. Auto takes ZeroCopy where Interface and
	// Queues are given and kernel, process and device can do it, else Provided, else
	// Socket; Engine.Reason says why not a better one.
	Mode zcrx.Mode

	// Interface and Queues name the hardware receive queues for ZeroCopy; steering
	// flows to them is the administrator's part.
	Interface string
	Queues    []int

	// Loops is the number of threads, 1 to 1024, by default one for each queue, and
	// without queues half of GOMAXPROCS. See zcrx.GroupConfig for how they share queues. In
	// Socket mode there are none.
	Loops int

	// Pool says what each pool is like. Its MaxLeases bounds what one connection may hold. In
	// Socket mode there is one pool, whose buffers have 16 KiB by default.
	Pool zcrx.PoolConfig
	// Loop says what each loop is like; its Logger is set from the field below.
	Loop zcrx.LoopConfig

	// SendZeroCopyFrom is the size in bytes from which on Write sends from the
	// caller's own memory (Linux 6.0), waiting until the peer has acknowledged it; 0
	// never does. It pays for some 64 KiB and more on a fast network, until the
	// kernel tells that it copied all the same, as over loopback.
	SendZeroCopyFrom int

	// Logger, if set, is told of what no caller is told: accepting that fails for a
	// while, and trouble of loops and pools.
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
	if cfg.Loop.Logger != nil {
		return cfg, errors.New("zcnet: Config.Loop has a Logger: set Config.Logger, which is told of everything")
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
	if cfg.Mode == zcrx.DeviceLess && len(cfg.Queues) == 0 {
		cfg.Queues = []int{0}
	}
	return cfg, nil
}

// rangeError says that a number is outside its allowed range.
func rangeError(what string, value, low, high int64) error {
	return fmt.Errorf("zcnet: %s %d is out of range: allowed are %d to %d", what, value, low, high)
}
