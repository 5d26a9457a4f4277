package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zcrx-go/zcrx"
)

// poolOptions are the flags that say which loop and which pool to make.
type poolOptions struct {
	mode          modeValue
	iface         string
	queue         int
	numBuffers    int
	bufferSize    size
	refillEntries int
	cqEntries     int
}

func (o *poolOptions) register(flags *pflag.FlagSet) {
	registerQueue(flags, &o.iface, &o.queue)
	flags.Var(&o.mode, "mode", "how bytes come into the buffers: auto, zerocopy, deviceless or provided; auto takes the best that works, never deviceless")
	flags.IntVar(&o.numBuffers, "num-buffers", 0, fmt.Sprintf("number of buffers (default %d)", zcrx.DefaultNumBuffers))
	flags.Var(&o.bufferSize, "buffer-size", "wanted size of a buffer, a power of two; 0 means a page")
	flags.IntVar(&o.refillEntries, "refill-entries", 0, "entries of the refill queue (default as many as buffers)")
	flags.IntVar(&o.cqEntries, "cq-entries", 0, fmt.Sprintf("entries of the completion queue (default %d)", defaultCQEntries))
}

func registerQueue(flags *pflag.FlagSet, iface *string, queue *int) {
	flags.StringVarP(iface, "interface", "i", "", "network interface to receive from with zero copy")
	flags.IntVarP(queue, "queue", "q", 0, "the interface's hardware receive queue")
}

// The range of --cq-entries is wider than that of zcrx.LoopConfig.CQEntries: for a
// small completion queue the submission queue is made smaller, too.
const (
	defaultSQEntries = 256
	defaultCQEntries = 4096
	minCQEntries     = 4 // where sizes are mixed, a 32-byte completion may need three
	maxCQEntries     = 65536
)

// check refuses what the library would take for "use the default". The other
// numbers go to it as they are.
func (o *poolOptions) check(cmd *cobra.Command) error {
	flags := cmd.Flags()
	if flags.Changed("queue") && o.iface == "" {
		return misused(cmd, errQueueAlone)
	}
	maxBuffers := zcrx.MaxNumBuffers
	if o.mode == modeValue(zcrx.Provided) || o.mode == modeValue(zcrx.Auto) && o.iface == "" {
		maxBuffers = zcrx.MaxProvidedBuffers
	}
	switch {
	case flags.Changed("num-buffers") && o.numBuffers == 0:
		return rangeError("num-buffers", o.numBuffers, 1, maxBuffers)
	case flags.Changed("refill-entries") && o.refillEntries == 0:
		return rangeError("refill-entries", o.refillEntries, 1, zcrx.MaxRefillEntries)
	case flags.Changed("cq-entries") && (o.cqEntries < minCQEntries || o.cqEntries > maxCQEntries):
		return rangeError("cq-entries", o.cqEntries, minCQEntries, maxCQEntries)
	}
	return nil
}

var errQueueAlone = errors.New("--queue needs --interface")

func rangeError(flag string, value, low, high int) error {
	return fmt.Errorf("--%s %d is out of range: allowed are %d to %d", flag, value, low, high)
}

// engine is a loop with a pool on it.
type engine struct {
	loop  *zcrx.Loop
	pool  zcrx.BufferPool
	asked zcrx.Mode

	iface  string
	queue  int
	before *placement // when the pool was opened; nil: the driver does not tell
}

// open makes the engine. The caller must close it.
func (o *poolOptions) open(ctx context.Context) (*engine, error) {
	loopConfig := zcrx.LoopConfig{CQEntries: o.cqEntries}
	if o.cqEntries > 0 {
		loopConfig.Entries = min(defaultSQEntries, o.cqEntries)
	}
	loop, err := zcrx.NewLoop(loopConfig)
	if err != nil {
		return nil, err
	}
	pool, err := zcrx.OpenPool(ctx, loop, zcrx.Mode(o.mode), zcrx.Queue{Interface: o.iface, Number: o.queue}, zcrx.PoolConfig{
		NumBuffers: o.numBuffers, BufferSizeHint: int(o.bufferSize), RefillEntries: o.refillEntries,
	})
	if err != nil {
		return nil, errors.Join(err, loop.Close())
	}
	e := &engine{loop: loop, pool: pool, asked: zcrx.Mode(o.mode), iface: o.iface, queue: o.queue}
	if pool.Mode() == zcrx.ZeroCopy {
		e.before = readPlacement(o.iface, o.queue)
	}
	return e, nil
}

// placement returns where the device has put payload since the pool was opened;
// nil if the driver does not tell.
func (e *engine) placement() *placement {
	if e.before == nil {
		return nil
	}
	now := readPlacement(e.iface, e.queue)
	if now == nil {
		return nil // the device has gone
	}
	return now.since(e.before)
}

// reason says why it is this mode.
func (e *engine) reason() string {
	switch reason := e.pool.Reason(); {
	case reason != nil:
		return errorText(reason)
	case e.asked == zcrx.Auto:
		return "there is no better mode"
	}
	return "asked for with --mode " + e.asked.String()
}

// close ends pool and loop, and complains about buffers that are still out.
func (e *engine) close() error {
	err := errors.Join(e.pool.Close(), e.loop.Close())
	if out := e.pool.Stats().Outstanding; out != 0 {
		err = errors.Join(err, fmt.Errorf("%d buffers are outstanding", out))
	}
	return err
}

// modeValue is a mode with a pool on the command line. It is a pflag.Value.
type modeValue zcrx.Mode

// Set takes the modes that OpenPool takes.
func (m *modeValue) Set(text string) error {
	mode, err := zcrx.ParseMode(text)
	if err != nil || mode == zcrx.Socket {
		return errors.New("want auto, zerocopy, deviceless or provided")
	}
	*m = modeValue(mode)
	return nil
}

func (m *modeValue) String() string { return zcrx.Mode(*m).String() }

// Type names the value in the help text.
func (*modeValue) Type() string { return "MODE" }
