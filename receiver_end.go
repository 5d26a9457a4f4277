package zcrx

import "io"

// Urgent data (MSG_OOB) and zero-copy receive do not go together.
//
//   - A packet with the URG flag whose payload lies in a pool makes the kernel panic
//     (7.3.4; tcp_urg in net/ipv4/tcp_input.c copies from it and takes a failure for a
//     bug). Any peer can send one, so in ZeroCopy mode sockets have a filter that drops
//     such packets before that: see sys.DropUrgent.
//   - RECV_ZC stops in front of an urgent byte, and answers 0 there if the peer has ended
//     the stream, as if nothing followed. recv(2) goes on behind it: see meetEnd.

// meetEnd takes a 0 of the kernel for the end of the stream if there is nothing more.
func (r *Receiver) meetEnd() {
	p, ok := r.pool.(*Pool)
	if !ok || !bytesBehind(r.socket.fd) {
		r.end(io.EOF)
		return
	}
	if !r.paused && r.moving == nil { // else the receive that follows meets it again
		p.rescue(r)
	}
}
