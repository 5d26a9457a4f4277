// Package contestant has the servers that are compared, under their names.
package contestant

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// A Contestant is a way to write a server.
type Contestant struct {
	Name string
	// Baseline is the name of the contestant that this one's figures are divided by.
	Baseline  string
	About     string
	Workloads []scenario.Workload
	start     func(ctx context.Context, cfg Config) (*Server, error)
}

// Config says what a server does, and with what.
type Config struct {
	Case scenario.Case `json:"case"`
	// Threads is the number of event loops, at least 1. Package net has none.
	Threads int `json:"threads"`
	// Address is what the server listens on.
	Address string `json:"address"`
	// Interface and Queues are for modes that use a network interface.
	Interface string `json:"interface,omitempty"`
	Queues    []int  `json:"queues,omitempty"`
}

// Server is a running server.
type Server struct {
	Address string // what clients connect to
	Mode    string // which of several ways the server took; may be empty
	// Received returns the number of bytes received so far, or 0 for HTTP.
	Received func() int64
	Close    func() error
}

// Start starts a server, which the caller must Close. ctx is for the whole life of the server.
func (c *Contestant) Start(ctx context.Context, cfg Config) (*Server, error) {
	if !slices.Contains(c.Workloads, cfg.Case.Workload) {
		return nil, fmt.Errorf("contestant %s has no workload %s, only %v", c.Name, cfg.Case.Workload, c.Workloads)
	}
	s, err := c.start(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("contestant %s: %w", c.Name, err)
	}
	return s, nil
}

// The workloads of servers of bytes, and of servers of requests.
var (
	bytesWorkloads = []scenario.Workload{scenario.Bulk, scenario.Echo, scenario.Churn}
	httpWorkloads  = []scenario.Workload{scenario.HTTP}
)

// The contestants that others are divided by.
const (
	netName         = "net"
	fastHTTPNetName = "fasthttp-net"
	netHTTPNetName  = "nethttp-net"
)

// All returns every contestant of this build.
func All() []*Contestant {
	all := []*Contestant{
		{Name: netName, About: "package net, a goroutine for each connection", start: startNet},
		{Name: "gnet", About: "gnet, event loops over epoll", start: startGnet},
		{Name: "netpoll", About: "netpoll, event loops over epoll and a pool of goroutines", start: startNetpoll},
		{Name: "c-sqe", About: "C over liburing, provided buffers, sends by the ring", start: startC(true)},
		{Name: "c-send", About: "C over liburing, provided buffers, sends by send(2)", start: startC(false)},
	}
	for _, m := range methods() {
		all = append(all, m.contestants()...)
	}
	for _, c := range all {
		c.Baseline, c.Workloads = netName, bytesWorkloads
	}
	return append(all, httpContestants()...)
}

// Find returns the contestants of these names, in their order.
func Find(names []string) ([]*Contestant, error) {
	all := All()
	found := make([]*Contestant, len(names))
	for i, name := range names {
		at := slices.IndexFunc(all, func(c *Contestant) bool { return c.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("contestant %q is unknown: want some of %s", name, strings.Join(Names(), ", "))
		}
		found[i] = all[at]
	}
	return found, nil
}

// Names returns the names of all contestants.
func Names() []string {
	var names []string
	for _, c := range All() {
		names = append(names, c.Name)
	}
	return names
}

// Suite returns those of a workload that "bench suite" compares, the baselines first.
func Suite(w scenario.Workload) []*Contestant {
	var suite []*Contestant
	for _, c := range All() {
		if slices.Contains(c.Workloads, w) && !slices.Contains(leftOut, c.Name) && !onlyByName(c.Name) {
			suite = append(suite, c)
		}
	}
	return suite
}

// leftOut are contestants that "bench suite" leaves out to save time: they take the path of
// one that it has.
var leftOut = []string{
	"buffers-socket", "buffers-provided", "handler-socket", "handler-provided", "fiber-socket", "fiber-provided",
	"fiber-buffers-socket", "fiber-buffers-provided", "fasthttp-listener-provided", "fasthttp-fiber-socket",
	"fasthttp-fiber-provided", "nethttp-listener-socket", "nethttp-listener-provided",
}

// onlyByName tells the modes that need a kernel or an interface that most machines lack.
func onlyByName(name string) bool {
	return strings.HasSuffix(name, "-deviceless") || strings.HasSuffix(name, "-zerocopy")
}
