package nic

import "slices"

// Drivers that accepted, and drivers that refused, a registration (Linux 6.15 to 7.3).
var (
	zeroCopyDrivers = []string{"bnxt_en", "fbnic", "gve", "mlx5_core"}
	copyingDrivers  = []string{"virtio_net", "e1000", "e1000e", "vmxnet3"}
)

// testDriver is the software device of test/nic. It supports zero copy, but no
// remedy recommends it.
const testDriver = "zcnic"

// ZeroCopyDrivers returns the names of the drivers whose queues a kernel of Linux 6.15
// to 7.3 has accepted for zero copy.
func ZeroCopyDrivers() []string { return slices.Clone(zeroCopyDrivers) }

// CopyingDrivers returns the names of drivers that have no queue management, and so
// cannot do zero copy (up to Linux 7.3). A driver in neither list has not been tried.
func CopyingDrivers() []string { return slices.Clone(copyingDrivers) }

// driverName returns words for the interface's driver, to begin a clause with.
func (f *Facts) driverName() string {
	if f.Driver == "" {
		return "its driver"
	}
	return "its driver " + f.Driver
}
