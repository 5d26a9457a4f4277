package runner

import (
	"context"
	"fmt"

	"github.com/zcrx-go/zcrx/bench/internal/contestant"
	"github.com/zcrx-go/zcrx/bench/internal/load"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// The roles, which are arguments of the program.
const (
	ServerRole = "serve"
	ClientRole = "load"
)

type serverSpec struct {
	Contestant string            `json:"contestant"`
	Config     contestant.Config `json:"config"`
}

type serverReady struct {
	Address string `json:"address"`
	Mode    string `json:"mode"`
}

type clientSpec struct {
	Address string        `json:"address"`
	Case    scenario.Case `json:"case"`
}

type clientReport struct {
	load.Report
	CPU float64 `json:"cpu"` // seconds
}

// Serve is the role of the server. The process must end after it: that closes the server.
func Serve(ctx context.Context) error {
	c, err := openControl()
	if err != nil {
		return err
	}
	var spec serverSpec
	if err := c.in.Decode(&spec); err != nil {
		return fmt.Errorf("what to serve: %w", err)
	}
	found, err := contestant.Find([]string{spec.Contestant})
	if err != nil {
		return c.reply(nil, err)
	}
	server, err := found[0].Start(ctx, spec.Config)
	if err != nil {
		return c.reply(nil, err)
	}
	if err := c.reply(serverReady{server.Address, server.Mode}, nil); err != nil {
		return err
	}
	var before snapshot
	err = c.serve(func(cmd command) (any, error) {
		if cmd == received {
			return server.Received(), nil
		}
		now, err := takeSnapshot(server.Received())
		if cmd == begin {
			before = now
			return nil, err
		}
		if err != nil {
			return nil, err
		}
		usage := now.since(before)
		usage.PeakMemory, err = peakMemory()
		return usage, err
	})
	return err
}

// Load is the role of the client. The process must end after it: that closes the connections.
func Load(ctx context.Context) error {
	c, err := openControl()
	if err != nil {
		return err
	}
	var spec clientSpec
	if err := c.in.Decode(&spec); err != nil {
		return fmt.Errorf("what to send: %w", err)
	}
	l, err := load.Start(ctx, spec.Address, spec.Case)
	if err != nil {
		return c.reply(nil, err)
	}
	if err := c.reply(nil, nil); err != nil {
		return err
	}
	var before float64
	return c.serve(func(cmd command) (any, error) {
		cpu, err := ownCPU()
		if err != nil {
			return nil, err
		}
		if cmd == begin {
			before = cpu
			l.Begin()
			return nil, nil
		}
		report, err := l.End()
		return clientReport{report, cpu - before}, err
	})
}
