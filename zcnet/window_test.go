package zcnet

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestWindow writes a random list of slices in random steps.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 5), 0, 200).Draw(rt, "slices")
		lengths := make([]int, len(v))
		for i := range v {
			lengths[i] = len(v[i])
		}
		want := bytes.Join(v, nil)
		var got []byte
		w := newWindow(v)
		for w.next() {
			require.LessOrEqual(rt, len(w.slices), mostAtOnce)
			require.NotEmpty(rt, w.slices[0])
			some := bytes.Join(w.slices, nil)
			n := rapid.IntRange(0, len(some)).Draw(rt, "written")
			got = append(got, some[:n]...)
			w.wrote(n)
			if n == 0 { // so that the loop ends
				got = append(got, some...)
				w.wrote(len(some))
			}
		}
		require.True(rt, bytes.Equal(want, got))
		require.Equal(rt, len(want), w.written)
		for i := range v {
			require.Len(rt, v[i], lengths[i], "the caller's list does not change")
		}
	})
}
