package cserver

// Config configures a Server.
type Config struct {
	Threads    int  // each with a ring and buffers of its own; at least 1
	Buffers    int  // of each thread, a power of two up to 32768
	BufferSize int  // in bytes
	Echo       bool // send back what is received; otherwise it is read and dropped
	RingSends  bool // send by entries of the ring; otherwise by send(2)
}
