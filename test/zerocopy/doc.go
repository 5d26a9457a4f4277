// Package zerocopy tests the library on true zero-copy receive: a hardware queue
// whose header split puts payload straight into a pool's buffers. The hardware is
// the software device in test/nic. The tests are behind the build tag nic and run
// in a virtual machine (make test-nic).
package zerocopy
