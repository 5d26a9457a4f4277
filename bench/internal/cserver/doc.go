// Package cserver is what the library is compared with in C: a server over liburing that
// receives into a provided-buffer ring, one receive in the kernel for each connection, and
// sends back what it received or drops it.
package cserver
