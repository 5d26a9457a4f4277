package zcrx

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
)

// Config says what serves connections. The zero Config is valid: it takes the best
// mode that needs no interface.
type Config struct {
	// Mode is how bytes come into buffers. Auto takes ZeroCopy where Interface and
	// Queues are given and kernel, process and device can do it, else Provided, else
	// Socket; Engine.Reason says why not a better one.
	Mode Mode

	// Interface and Queues name the hardware receive queues for ZeroCopy; steering
	// flows to them is the administrator's part.
	Interface string
	Queues    []int

	// Loops is the number of threads, 1 to 1024, by default one for each queue, and
	// without queues half of GOMAXPROCS. See GroupConfig for how they share queues. In
	// Socket mode there are none.
	Loops int

	// Pool says what each pool is like; Interface, Queue and DeviceLess are set from
	// the fields above. Its MaxLeases bounds what one connection may hold. In
	// Socket mode there is one pool, whose buffers have 16 KiB by default.
	Pool PoolConfig
	// Loop says what each loop is like. Its Logger is told of pools' trouble too.
	Loop LoopConfig

	// SendZeroCopyFrom is the size in bytes from which on Write sends from the
	// caller's own memory (Linux 6.0), waiting until the peer has acknowledged it; 0
	// never does. It pays for some 64 KiB and more on a fast network, until the
	// kernel tells that it copied all the same, as over loopback.
	SendZeroCopyFrom int

	// Logger, if set, is told when accepting fails for a while.
	Logger *slog.Logger
}

const maxLoops = 1024

func (cfg Config) withDefaults() (Config, error) {
	if int(cfg.Mode) >= len(modeNames) {
		return cfg, fmt.Errorf("zcrx: mode %v is unknown: allowed are %v", cfg.Mode, modeNames)
	}
	if cfg.Mode == ZeroCopy && (cfg.Interface == "" || len(cfg.Queues) == 0) {
		return cfg, errors.New("zcrx: mode zerocopy needs Config.Interface and Config.Queues")
	}
	if cfg.Pool.Interface != "" || cfg.Pool.Queue != 0 || cfg.Pool.DeviceLess {
		return cfg, errors.New("zcrx: Config.Pool has an interface, a queue or DeviceLess: set Config.Interface, Queues and Mode")
	}
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
	cfg.Pool.Interface = cfg.Interface
	if cfg.Mode == DeviceLess {
		cfg.Pool.Interface = ""
		if len(cfg.Queues) == 0 {
			cfg.Queues = []int{0}
		}
	}
	return cfg, nil
}
