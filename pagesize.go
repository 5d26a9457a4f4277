package zcrx

import (
	"math/bits"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// bufferSizeFor turns a size hint into the size to ask for: a page, unless the
// hint is a larger power of two.
func bufferSizeFor(hint int) int {
	page := int(sys.PageSize())
	if hint <= page || hint&(hint-1) != 0 {
		return page
	}
	return hint
}

// wholePages rounds bytes up to whole pages.
func wholePages(n uint64) uint64 {
	page := uint64(sys.PageSize())
	return (n + page - 1) &^ (page - 1)
}

// roundUpPow2 is the smallest power of two that is at least n, for n from 1 to
// 1<<31.
func roundUpPow2(n uint32) uint32 { return 1 << bits.Len32(n-1) }
