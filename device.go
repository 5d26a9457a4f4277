package zcrx

import (
	"fmt"
	"slices"
)

// Drivers, by what they answered to a registration (Linux 6.15 to 7.3).
var (
	zeroCopyDrivers = []string{"bnxt_en", "mlx5_core", "gve", "fbnic"}
	copyingDrivers  = []string{"virtio_net", "e1000", "e1000e", "vmxnet3"}
)

// ProbeQueue tells, as far as that can be seen without touching it, whether a
// hardware receive queue can be used for zero copy: nil if its driver can, an
// error that matches ErrNotSupported if not, another error if only a
// registration could tell. It changes nothing and needs no privilege.
func ProbeQueue(iface string, queue int) error {
	cfg := PoolConfig{Interface: iface, Queue: queue}
	if _, err := cfg.resolveInterface(); err != nil {
		return err
	}
	cannot := func(why string) error {
		return &UnsupportedError{
			Feature: fmt.Sprintf("zero-copy receive on %q", iface), Layer: LayerDevice, Err: fmt.Errorf("%s", why),
			Remedy: fmt.Sprintf("use an interface whose driver is one of %v, or a copying mode", zeroCopyDrivers),
		}
	}
	driver := interfaceDriver(iface)
	switch {
	case driver == "":
		return cannot("the interface is virtual: it has no DMA device")
	case slices.Contains(copyingDrivers, driver):
		return cannot(fmt.Sprintf("its driver %s has no queue management", driver))
	case !slices.Contains(zeroCopyDrivers, driver):
		return fmt.Errorf("zcrx: whether driver %s of %q can do zero-copy receive is not known: only opening a pool on it tells", driver, iface)
	}
	return nil
}
