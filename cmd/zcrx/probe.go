package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/zcrx-go/zcrx"
)

type probeOptions struct {
	iface   string
	queue   int
	buffers int
	require string
	json    bool
}

func newProbe(std streams) *cobra.Command {
	o := probeOptions{}
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Tell what this kernel, process and interface can do",
		Long: "Tell what this kernel, this process and an interface can do, and what is in the way of the\n" +
			"rest. Nothing is changed. The exit status is 0 unless a mode that --require names would\n" +
			"not work.",
		Args: noArgs,
	}
	flags := cmd.Flags()
	registerQueue(flags, &o.iface, &o.queue)
	flags.IntVar(&o.buffers, "num-buffers", zcrx.DefaultNumBuffers, "warn if a pool of so many buffers would not fit the interface")
	flags.StringVar(&o.require, "require", "", "fail unless this mode works: zerocopy, deviceless or provided")
	flags.BoolVar(&o.json, "json", false, "print one JSON object (docs/json.md)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if flags.Changed("queue") && o.iface == "" {
			return misused(cmd, errQueueAlone)
		}
		if o.buffers < 1 || o.buffers > zcrx.MaxNumBuffers {
			return rangeError("num-buffers", o.buffers, 1, zcrx.MaxNumBuffers)
		}
		required := zcrx.Auto // none
		if flags.Changed("require") {
			mode, err := zcrx.ParseMode(o.require)
			if err != nil || mode == zcrx.Auto || mode == zcrx.Socket {
				return misused(cmd, fmt.Errorf("--require %q: want zerocopy, deviceless or provided", o.require))
			}
			required = mode
		}
		m, err := probeMachine(o.iface, o.queue, o.buffers)
		if err != nil {
			return err
		}
		if err := emit(std.out, o.json, m.report()); err != nil {
			return err
		}
		if err := m.modes[required]; err != nil {
			return fmt.Errorf("mode %v does not work: %w", required, err)
		}
		return nil
	}
	return cmd
}
