package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

// engineOptions are the flags that say which engine to make.
type engineOptions struct {
	mode          modeValue
	iface         string
	queue         int
	numBuffers    int
	bufferSize    size
	refillEntries int
	cqEntries     int
}

func (o *engineOptions) register(flags *pflag.FlagSet) {
	registerQueue(flags, &o.iface, &o.queue)
	flags.Var(&o.mode, "mode", "how bytes come into the buffers: "+modeNames+"; auto takes the best that works, never deviceless")
	flags.IntVar(&o.numBuffers, "num-buffers", 0, fmt.Sprintf("number of buffers (default %d, of larger ones fewer)", zcrx.DefaultNumBuffers))
	flags.Var(&o.bufferSize, "buffer-size", "wanted size of a buffer, a power of two; 0 means a page, in mode socket 64KiB")
	flags.IntVar(&o.refillEntries, "refill-entries", 0, fmt.Sprintf("entries of the refill queue (default four times the buffers, at most %d)", zcrx.MaxRefillEntries))
	flags.IntVar(&o.cqEntries, "cq-entries", 0, "entries of the completion queue (default 16384)")
}

func registerQueue(flags *pflag.FlagSet, iface *string, queue *int) {
	flags.StringVarP(iface, "interface", "i", "", "network interface to receive from with zero copy")
	flags.IntVarP(queue, "queue", "q", 0, "the interface's hardware receive queue")
}

// The range of --cq-entries is wider than that of zcrx.LoopConfig.CQEntries: for a
// small completion queue the submission queue is made smaller, too.
const (
	defaultSQEntries = 256
	minCQEntries     = 4 // where sizes are mixed, a 32-byte completion may need three
	maxCQEntries     = 65536

	maxQueue = 65535 // how many an interface has, the library asks
)

// check refuses numbers out of range, and a mode and an interface that do not go
// together.
func (o *engineOptions) check(cmd *cobra.Command) error {
	flags := cmd.Flags()
	if flags.Changed("queue") && o.iface == "" {
		return misused(cmd, errQueueAlone)
	}
	switch mode := zcrx.Mode(o.mode); {
	case o.iface == "" && mode == zcrx.ZeroCopy:
		return errors.New("--mode zerocopy needs --interface")
	case o.iface != "" && mode != zcrx.ZeroCopy && mode != zcrx.Auto:
		return fmt.Errorf("--mode %v has no interface: --interface %s goes with --mode zerocopy or auto", mode, o.iface)
	}
	maxBuffers := zcrx.MaxNumBuffers
	if o.mode == modeValue(zcrx.Provided) || o.mode == modeValue(zcrx.Auto) && o.iface == "" {
		maxBuffers = zcrx.MaxProvidedBuffers
	}
	for _, n := range []struct {
		flag             string
		value, low, high int
	}{
		{"queue", o.queue, 0, maxQueue},
		{"num-buffers", o.numBuffers, 1, maxBuffers},
		{"buffer-size", int(o.bufferSize), 0, zcrx.MaxBufferSize},
		{"refill-entries", o.refillEntries, 1, zcrx.MaxRefillEntries},
		{"cq-entries", o.cqEntries, minCQEntries, maxCQEntries},
	} {
		if flags.Changed(n.flag) && (n.value < n.low || n.value > n.high) {
			return rangeError(n.flag, n.value, n.low, n.high)
		}
	}
	return checkPowerOfTwo("buffer-size", o.bufferSize)
}

func checkPowerOfTwo(flag string, n size) error {
	if n > 0 && n&(n-1) != 0 {
		return fmt.Errorf("--%s %d is no power of two: allowed are powers of two up to %d", flag, int64(n), zcrx.MaxBufferSize)
	}
	return nil
}

var errQueueAlone = errors.New("--queue needs --interface")

func rangeError(flag string, value, low, high int) error {
	return fmt.Errorf("--%s %d is out of range: allowed are %d to %d", flag, value, low, high)
}

// config returns what to make: one loop, and one pool on it.
func (o *engineOptions) config() zcnet.Config {
	cfg := zcnet.Config{
		Mode: zcrx.Mode(o.mode), Interface: o.iface, Loops: 1,
		Pool: zcrx.PoolConfig{
			NumBuffers: o.numBuffers, BufferSizeHint: int(o.bufferSize), RefillEntries: o.refillEntries,
		},
		Loop: zcrx.LoopConfig{CQEntries: o.cqEntries, Entries: min(defaultSQEntries, o.cqEntries)},
	}
	if o.iface != "" {
		cfg.Queues = []int{o.queue}
	}
	return cfg
}

// modeValue is a mode on the command line. It is a pflag.Value.
type modeValue zcrx.Mode

const modeNames = "auto, zerocopy, deviceless, provided or socket"

// Set takes the name of a mode.
func (m *modeValue) Set(text string) error {
	mode, err := zcrx.ParseMode(text)
	if err != nil {
		return errors.New("want " + modeNames)
	}
	*m = modeValue(mode)
	return nil
}

func (m *modeValue) String() string { return zcrx.Mode(*m).String() }

// Type names the value in the help text.
func (*modeValue) Type() string { return "MODE" }
