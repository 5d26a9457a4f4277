// Package zerocopy tests the library with real zero-copy receive: the device puts payload
// directly into a pool's buffers. The device is the software one of test/nic. The tests have
// the build tag nic and run in a virtual machine: make test-nic. There is nothing to import
// here.
package zerocopy
