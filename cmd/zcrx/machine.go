package main

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/zcrx-go/zcrx"
)

// machine is what this machine can do. Of its errors nil means yes, one that
// matches zcrx.ErrNotSupported no, and any other that it is not known.
type machine struct {
	features *zcrx.Features
	iface    string // that was asked about; may be empty
	queue    int
	device   error
	warnings []string // of a pool there
	found    string   // an interface for zero copy, if none was asked about
	modes    map[zcrx.Mode]error
}

// probedModes are the modes with a pool, best first.
var probedModes = []zcrx.Mode{zcrx.ZeroCopy, zcrx.DeviceLess, zcrx.Provided}

// probeMachine finds out about the machine and, if iface is not empty, about one
// of its hardware queues and a pool of so many buffers there. It returns an error if that
// queue does not exist.
func probeMachine(iface string, queue, buffers int) (*machine, error) {
	// What could not be found out is in the features, one by one.
	features, _ := zcrx.ProbeFeatures()
	m := &machine{features: features, iface: iface, queue: queue}
	if iface != "" {
		m.device = zcrx.ProbeQueue(zcrx.Queue{Interface: iface, Number: queue})
		if m.device != nil && !probed(m.device) {
			return nil, m.device // there is no such queue
		}
		m.warnings = zcrx.PoolConfig{NumBuffers: buffers}.Warnings(zcrx.Queue{Interface: iface, Number: queue})
	}
	zeroCopy := features.Have(zcrx.FeatureZeroCopy)
	if zeroCopy == nil {
		zeroCopy = m.device
		if iface == "" {
			m.found, zeroCopy = findDevice()
		}
	}
	provided := features.Have(zcrx.FeatureProvidedBuffers)
	if provided == nil {
		provided = features.Have(zcrx.FeatureMultishotRecv)
	}
	m.modes = map[zcrx.Mode]error{
		zcrx.ZeroCopy:   zeroCopy,
		zcrx.DeviceLess: features.Have(zcrx.FeatureDeviceLess),
		zcrx.Provided:   provided,
	}
	return m, nil
}

// probed reports whether err is about a queue that exists.
func probed(err error) bool {
	_, busy := errors.AsType[*zcrx.KernelError](err)
	return busy || errors.Is(err, zcrx.ErrNotSupported) || errors.Is(err, zcrx.ErrInconclusive)
}

// findDevice looks for an interface that zero copy can be done on.
func findDevice() (name string, err error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	var cannot, unknown []string
	for _, i := range interfaces {
		switch err := zcrx.ProbeQueue(zcrx.Queue{Interface: i.Name}); {
		case err == nil:
			return i.Name, nil
		case errors.Is(err, zcrx.ErrNotSupported):
			cannot = append(cannot, i.Name)
		default:
			unknown = append(unknown, i.Name)
		}
	}
	if len(unknown) > 0 {
		return "", fmt.Errorf("whether %s can is not known: only opening a pool tells (recv --mode zerocopy -i %s)",
			strings.Join(unknown, " or "), unknown[0])
	}
	return "", &zcrx.UnsupportedError{
		Feature: zcrx.FeatureZeroCopy.String(), Layer: zcrx.LayerDevice,
		Err:    fmt.Errorf("no interface here can (%s)", strings.Join(cannot, ", ")),
		Remedy: "add an interface whose driver can, or use a copying mode",
	}
}
