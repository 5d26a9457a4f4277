//go:build !unix

package zcrx

// readInto keeps a buffer while it waits for data. If the pool has none, it answers
// neither bytes nor an error.
func (s *plainSocket) readInto(b *plainBuffer) (int, error) {
	if b.mem == nil && !s.pool.tryBorrow(b) {
		return 0, nil
	}
	return s.Read(b.mem)
}
