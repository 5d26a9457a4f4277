package zcrx

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Drivers, by what they answered to a registration (Linux 6.15 to 7.3).
var (
	zeroCopyDrivers = []string{"bnxt_en", "fbnic", "gve", "mlx5_core"}
	copyingDrivers  = []string{"virtio_net", "e1000", "e1000e", "vmxnet3"}
)

// ProbeQueue tells, as far as that can be seen without touching it, whether a
// hardware receive queue can be used for zero copy: nil if its driver can, an
// error that matches ErrNotSupported if not, ErrInconclusive if only a
// registration could tell, another error if there is no such queue. It changes nothing and needs no privilege.
func ProbeQueue(iface string, queue int) error {
	cfg := PoolConfig{Interface: iface, Queue: queue}
	if _, err := cfg.resolveInterface(); err != nil {
		return err
	}
	cannot := func(why string) error {
		return &UnsupportedError{
			Feature: fmt.Sprintf("zero-copy receive on %q", iface), Layer: LayerDevice, Err: errors.New(why),
			Remedy: "use an interface whose driver is " + strings.Join(zeroCopyDrivers, ", ") + ", or a copying mode",
		}
	}
	driver := interfaceDriver(iface)
	switch {
	case driver == "":
		return cannot("the interface is virtual: it has no DMA device")
	case slices.Contains(copyingDrivers, driver):
		return cannot(fmt.Sprintf("its driver %s has no queue management", driver))
	case !slices.Contains(zeroCopyDrivers, driver):
		return fmt.Errorf("zcrx: zero-copy receive on %q: driver %s: %w", iface, driver, ErrInconclusive)
	}
	return nil
}
