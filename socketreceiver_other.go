//go:build !unix

package zcrx

// readInto keeps a buffer while it waits for data. If the pool has none, it returns
// neither bytes nor an error.
func (r *SocketReceiver) readInto(b *socketBuffer) (int, error) {
	if b.mem == nil && !r.pool.tryBorrow(b) {
		return 0, nil
	}
	return r.conn.Read(b.mem)
}
