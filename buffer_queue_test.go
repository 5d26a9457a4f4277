//go:build linux && cgo

package zcrx

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestBufferQueueKeepsOrder adds and takes at random, and compares the queue with a slice.
func TestBufferQueueKeepsOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var q bufferQueue
		want := []uint64{} // generations stand for the Buffers
		made := uint64(0)
		number := func(buffers []Buffer) []uint64 {
			numbers := []uint64{}
			for _, b := range buffers {
				numbers = append(numbers, b.generation)
			}
			return numbers
		}
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				batch := make([]Buffer, rapid.IntRange(0, 5).Draw(rt, "buffers"))
				for i := range batch {
					made++
					batch[i].generation = made
				}
				want = append(want, number(batch)...)
				require.Equal(rt, len(want), q.add(batch))
				clear(batch) // it remains the caller's
			},
			"take": func(rt *rapid.T) {
				dst := make([]Buffer, rapid.IntRange(0, 7).Draw(rt, "room"))
				n := q.take(dst)
				require.Equal(rt, min(len(dst), len(want)), n)
				require.Equal(rt, want[:n], number(dst[:n]))
				want = want[n:]
			},
			"take all": func(rt *rapid.T) {
				require.Equal(rt, want, number(q.takeAll()))
				want = []uint64{}
			},
			"": func(rt *rapid.T) {
				require.Equal(rt, len(want), q.len())
				for i, b := range q.buffers[:cap(q.buffers)] {
					if i < q.first || i >= len(q.buffers) {
						require.Zero(rt, b, "it keeps no lease that was taken")
					}
				}
			},
		})
	})
}
